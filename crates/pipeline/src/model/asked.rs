//! The model that a request asks for, in the form that it asks for.

use burn::tensor::{DType, Device};
use latent_checkpoint::Files;
use latent_checkpoint::file::hash::{old_hash, short_hash};
use latent_checkpoint::{ModelError, Report};
use latent_models::Form;

use super::{Model, ModelFiles, NetworkFiles, Progress};
use crate::error::{Error, Result};
use crate::family::VectorInput;
use crate::profile::Profile;
use crate::request::{Dtype, Name, Request};
use crate::resources::{Place, Resources};

impl ModelFiles {
    /// Those of the model, of its refiner and of the networks that `request` names; the built-in model's where it names none.
    ///
    /// # Errors
    /// A name that stands for nothing, or for several models.
    pub fn of(request: &Request, resources: &dyn Resources) -> Result<Self> {
        let model = |field, name| {
            let place = resources.model(name);
            place.map_err(|source| Error::Given { field, source })
        };
        let Place { path, files } = model("model", request.model.as_ref())?;
        let refiner = request.refiner.as_ref();
        let refiner = refiner.map(|name| model("refiner", Some(name)));
        let part = |field, name: &Option<_>| {
            let place = name.as_ref().map(|name| resources.part(name)).transpose();
            let place = place.map_err(|source| Error::Given { field, source })?;
            Ok::<_, Error>(place.map(|place| place.path))
        };
        let named = |field, name: &Name| {
            let place = resources.part(name);
            let place = place.map_err(|source| Error::Given { field, source })?;
            Ok::<_, Error>(place.path)
        };
        let controls = request.control.iter().map(|control| {
            Ok::<_, Error>(NetworkFiles {
                network: named("control.model", &control.model)?,
                encoder: part("control.encoder", &control.encoder)?,
            })
        });
        let adapters = request.ip_adapter.iter().map(|shown| {
            Ok::<_, Error>(NetworkFiles {
                network: named("ip_adapter.model", &shown.model)?,
                encoder: part("ip_adapter.encoder", &shown.encoder)?,
            })
        });
        Ok(Self {
            model: path,
            built_in: files,
            vae: part("vae", &request.vae)?,
            text_encoder: part("text_encoder", &request.text_encoder)?,
            prediction: request.prediction.map(Into::into),
            adapters: resources.adapters(request)?,
            refiner: refiner.transpose()?,
            controls: controls.collect::<Result<_>>()?,
            ip_adapters: adapters.collect::<Result<_>>()?,
            refiner_decodes: Profile::of(request.compat).refiner_decodes,
        })
    }
}

impl Model {
    /// Opens `files` in the number type of `request`; `once`: for one job alone, so that its networks are only
    /// [declared](Self::declare).
    ///
    /// # Errors
    /// As [`open`](Self::open)'s; a number type that the device does not have.
    pub fn open_for(
        request: &Request,
        files: &ModelFiles,
        device: &Device,
        once: bool,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        let asked = request.compute.dtype.unwrap_or(Dtype::F32);
        if asked == Dtype::Int8 && *device != Device::flex() {
            let expected = "f16 or bf16 on a GPU, since int8 is for the CPU";
            return Err(Error::field("compute.dtype", asked, expected));
        }
        let dtype = match asked {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 | Dtype::Int8 => DType::BF16,
        };
        let (mut model, reports) = match once {
            true => Self::declare(files, device, dtype),
            false => Self::open(files, device, dtype, progress),
        }?;
        // ComfyUI and A1111 let it draw so.
        if model.family.vector == VectorInput::Score && request.start.image.is_none() {
            model.notes.push(format!(
                "{} draws from text alone, and was trained for the last fifth of the noise: give it a picture (--init-img), or \
                 use it as --refiner",
                model.family.name
            ));
        }
        Ok((model, reports))
    }

    /// Computes the hashes that pictures carry: of the checkpoint, of its refiner, of an autoencoder that was opened on its own,
    /// and of ControlNets.
    /// `progress` is called with the bytes read and their number.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hash_files(
        &mut self,
        files: &ModelFiles,
        resources: &dyn Resources,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let mut hash = |path: &std::path::Path, files| -> Result<Option<String>> {
            let path = path.to_owned();
            let hash = resources.hash(&Place { path, files }, progress)?;
            Ok(hash.map(|hash| short_hash(&hash).to_owned()))
        };
        self.hash = hash(&files.model, files.built_in)?;
        if let (Some((_, own)), Some(path)) = (&mut self.vae, &files.vae) {
            *own = hash(path, Files::Disk)?;
        }
        if let (Some(refiner), Some(place)) = (&mut self.refiner, &files.refiner) {
            refiner.hash = hash(&place.path, place.files)?;
        }
        let old = |path: &std::path::Path| match path.is_file() {
            true => old_hash(path).map(Some).map_err(ModelError::from),
            false => Ok(None),
        };
        for control in &mut self.controls {
            control.hash = old(&control.files.network)?;
        }
        for ip in &mut self.ip_adapters {
            ip.hash = old(&ip.files.network)?;
        }
        self.hash_adapters(progress)
    }

    /// The model packed for the number type of `request`.
    pub fn packed_for(self, request: &Request) -> Self {
        self.packed(match request.compute.dtype {
            Some(Dtype::Int8) => Form::Int8,
            _ => Form::Plain,
        })
    }
}
