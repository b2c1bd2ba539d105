//! The service's engine: what a request means, and drawing it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use burn::tensor::Device;
use latent_diffusion::names::sampler_info;
use latent_pipeline::{
    Code, Error, Model, ModelFiles, Profile, Resolved, Resources,
    asked::{Asked, Base, Layer},
    check,
    picture::{Picture, files, metadata::Metadata, preview::Previewer, resize},
    request::{Dtype, Hires, Name, Request, ResizeMode, Size},
    resources::{Models, ResourceError},
    run,
};
use latent_serve::{
    self as service, Catalogue, Convert, Encoded, Engine, Fault, Filter, Fit, Inputs, Memory, Read,
    Settled, Stop, Watch, Work,
};
use serde_json::{Map, Value};

use super::{catalogue, hooks::Hooks};
use crate::{failure::Failure, machine};

/// Models that are known by their files, without weights, so that a request is settled at once.
const DECLARED: usize = 4;

/// Draws with one model at a time, which stays in memory until another is asked for.
pub struct Drawer {
    device: Device,
    folders: Folders,
    models: RwLock<Arc<Library>>,
    declared: Mutex<Vec<(Files, Arc<Model>)>>,
    loaded: Mutex<Option<Loaded>>,
}

/// How everything is found that requests may name.
pub type Folders = Box<dyn Fn() -> Result<Models, Failure> + Send + Sync>;

/// What can be named, and how it is told.
struct Library {
    models: Models,
    catalogue: Catalogue,
}

/// What a model is opened from; its LoRAs are exchanged while it stays open.
type Files = (ModelFiles, Option<Dtype>);

/// The model in memory.
pub(super) struct Loaded {
    files: Files,
    /// What the service calls it.
    pub name: String,
    model: Model,
    previewer: OnceLock<Option<Previewer>>,
}

impl Loaded {
    /// What shows its latents; made when it is first asked for.
    pub fn previewer(&self) -> Option<&Previewer> {
        let previewer = self
            .previewer
            .get_or_init(|| Previewer::of(&self.model).ok());
        previewer.as_ref()
    }

    /// A1111's name of the sampler that draws a request, whatever the request calls it.
    pub fn sampler(&self, request: &Request) -> String {
        let (sampler, scheduler) = (&request.sampler, &request.scheduler);
        let profile = Profile::of(request.compat);
        let names = Resolved::of(sampler, scheduler, &profile, &self.model.scheduler);
        names.map_or_else(
            |_| sampler.clone(),
            |names| sampler_info(names.sampler).label.to_owned(),
        )
    }
}

/// What a request names: pictures that were sent with it, and models of the folders.
pub(super) struct Sent<'a> {
    pub models: &'a Models,
    pub files: &'a Inputs,
}

impl Resources for Sent<'_> {
    fn models(&self) -> &Models {
        self.models
    }

    fn find(&self, name: &Name) -> Result<(), ResourceError> {
        self.bytes(name).map(drop)
    }

    fn bytes(&self, name: &Name) -> Result<Vec<u8>, ResourceError> {
        let found = name.as_str().and_then(|name| self.files.get(name));
        found.cloned().ok_or_else(|| ResourceError::Unknown {
            name: name.clone(),
            hint: String::new(),
        })
    }
}

/// An error as a fault of what was asked.
pub(super) fn refused(error: Error) -> Fault {
    let field = error.fields().first().map(|field| (*field).to_owned());
    Fault::asked(error.code(), field.as_deref(), error.to_string())
}

/// The same of what was being done.
fn failed(error: &Error) -> Fault {
    Fault::failed(error.code(), error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is a model, which is as it was.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the files of a request are, LoRAs apart.
fn files_of(request: &Request, sent: &Sent<'_>) -> Result<Files, Error> {
    let mut files = ModelFiles::of(request, sent)?;
    files.adapters.clear();
    Ok((files, request.compute.dtype))
}

impl Drawer {
    /// Looks through the folders.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn new(device: Device, folders: Folders) -> Result<Self, Failure> {
        let models = RwLock::new(Arc::new(Library::of(folders()?)));
        Ok(Self {
            device,
            folders,
            models,
            declared: Mutex::default(),
            loaded: Mutex::default(),
        })
    }

    fn library(&self) -> Arc<Library> {
        let library = self.models.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&library)
    }

    /// The model of a request, without weights where it was not opened yet.
    fn declared(&self, request: &Request, sent: &Sent<'_>) -> Result<Arc<Model>, Error> {
        let files = files_of(request, sent)?;
        let mut declared = lock(&self.declared);
        if let Some((_, model)) = declared.iter().find(|(known, _)| *known == files) {
            return Ok(Arc::clone(model));
        }
        let quiet = &mut |_, _, _| {};
        let (model, _) = Model::open_for(request, &files.0, &self.device, true, quiet)?;
        let model = Arc::new(model);
        if declared.len() == DECLARED {
            declared.remove(0);
        }
        declared.push((files, Arc::clone(&model)));
        Ok(model)
    }

    /// Has the model of a request in memory, with its LoRAs.
    fn open(
        &self,
        loaded: &mut Option<Loaded>,
        request: &Request,
        sent: &Sent<'_>,
        note: &mut dyn FnMut(String),
    ) -> Result<(), Error> {
        let files = files_of(request, sent)?;
        if loaded.as_ref().is_none_or(|held| held.files != files) {
            // Two do not have to fit.
            *loaded = None;
            let quiet = &mut |_, _, _| {};
            let (mut model, _) = Model::open_for(request, &files.0, &self.device, false, quiet)?;
            model.hash_files(&files.0, sent, &mut |_, _| {})?;
            *loaded = Some(Loaded {
                name: called(request, sent),
                model: model.packed_for(request),
                previewer: OnceLock::new(),
                files,
            });
        }
        if let Some(held) = loaded {
            let told = held.model.adapt(&sent.adapters(request)?)?;
            told.into_iter().for_each(note);
            held.model.hash_adapters(&mut |_, _| {})?;
        }
        Ok(())
    }
}

/// What the service calls the model of a request.
fn called(request: &Request, sent: &Sent<'_>) -> String {
    match &request.model {
        Some(name) => match sent.models.library.find(name) {
            Ok(entry) => entry.name.to_string(),
            Err(_) => name.to_string(),
        },
        None => sent
            .models
            .built_in
            .map_or_else(String::new, |own| own.name.to_owned()),
    }
}

impl Library {
    fn of(models: Models) -> Self {
        Self {
            catalogue: catalogue::of(&models),
            models,
        }
    }
}

impl Engine for Drawer {
    fn version(&self) -> String {
        concat!("latent v", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn catalogue(&self) -> Catalogue {
        self.library().catalogue.clone()
    }

    fn scan(&self) -> Result<(), Fault> {
        let models = (self.folders)();
        let models = models.map_err(|failure| Fault::asked(failure.name, None, failure.message))?;
        let library = Arc::new(Library::of(models));
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = library;
        lock(&self.declared).clear();
        Ok(())
    }

    fn settle(
        &self,
        asked: &service::Asked<'_>,
        seed: &mut dyn FnMut() -> u64,
    ) -> Result<Settled, Fault> {
        let library = self.library();
        let sent = Sent {
            models: &library.models,
            files: asked.inputs,
        };
        let layer = Layer::of(Value::Object(asked.request.clone()));
        let layer = layer.map_err(|error| refused(error.into()))?;
        let settled = || {
            let mut asked = Asked::of(Base::default(), layer, None, &sent, seed)?;
            let first = asked.requests.first();
            let model = self.declared(first.unwrap_or(&Request::default()), &sent)?;
            asked.take_defaults(&model, &sent)?;
            let mut notes = asked.remarks_on(&model);
            for (idle, _) in asked.without_effect(&model)? {
                notes.push(format!("{} has no effect: {}", idle.field, idle.reason));
            }
            notes.append(&mut asked.notes);
            let request = asked.requests.pop().unwrap_or_default();
            check(&request, &model, &sent, machine::free_memory())?;
            // That they fit is seen before the job waits its turn.
            sent.adapters(&request)?;
            Ok((request, notes))
        };
        let (request, notes) = settled().map_err(refused)?;
        let size = request.hires.as_ref();
        let size = size.map_or(request.size(), |hires| hires.target(request.size()).1);
        Ok(Settled {
            model: called(&request, &sent),
            pictures: request.pictures() as u32,
            width: size.width as u32,
            height: size.height as u32,
            steps: steps(&request),
            request: serde_json::to_value(&request).unwrap_or_default(),
            notes,
        })
    }

    fn draw(&self, work: &Work<'_>, watch: &dyn Watch) -> Result<(), Fault> {
        let mut guard = lock(&self.loaded);
        let loaded = &mut *guard;
        // A thread outside of the pool would sleep and wake around every operation.
        rayon::scope(|_| self.draw_all(loaded, work, watch))
    }

    fn read(&self, picture: &[u8]) -> Result<Read, Fault> {
        read(picture).map_err(refused)
    }

    fn convert(&self, picture: &[u8], to: &Convert) -> Result<Encoded, Fault> {
        converted(picture, to).map_err(refused)
    }

    fn load(&self, model: Option<&str>) -> Result<String, Fault> {
        let library = self.library();
        let sent = Sent {
            models: &library.models,
            files: &Inputs::new(),
        };
        let request = Request {
            model: model.map(Name::from),
            ..Request::default()
        };
        let mut loaded = lock(&self.loaded);
        self.open(&mut loaded, &request, &sent, &mut |_| {})
            .map_err(refused)?;
        Ok(called(&request, &sent))
    }

    fn unload(&self) {
        *lock(&self.loaded) = None;
    }

    fn loaded(&self) -> Option<String> {
        // While it draws nobody waits for an answer.
        let loaded = self.loaded.try_lock().ok()?;
        loaded.as_ref().map(|held| held.name.clone())
    }

    fn memory(&self) -> Memory {
        machine::memory()
    }
}

/// Steps of one picture, both passes together.
fn steps(request: &Request) -> u32 {
    let second = request.hires.as_ref();
    let second = second.map_or(0, |hires: &Hires| hires.steps_after(request.steps));
    (request.steps + second) as u32
}

impl Drawer {
    fn draw_all(
        &self,
        loaded: &mut Option<Loaded>,
        work: &Work<'_>,
        watch: &dyn Watch,
    ) -> Result<(), Fault> {
        let library = self.library();
        let sent = Sent {
            models: &library.models,
            files: work.inputs,
        };
        let request: Request = serde_json::from_value(work.request.clone())
            .map_err(|error| Fault::failed("field_wrong_type", error.to_string()))?;
        let first = work.missing.first().copied().unwrap_or_default();
        watch.stage("loading", first);
        let opened = self.open(loaded, &request, &sent, &mut |text| watch.note(text));
        opened.map_err(|error| failed(&error))?;
        let Some(held) = loaded else { return Ok(()) };
        let mut missing = work.missing;
        while let Some(&from) = missing.first() {
            if let Some(Stop::Drop | Stop::Keep) = watch.stop() {
                return Ok(());
            }
            // Neighbours are drawn in one run: their prompts are encoded once.
            let neighbours = missing
                .iter()
                .zip(from..)
                .take_while(|(n, next)| *n == next);
            let count = neighbours.count();
            let part = request.part(from as usize..from as usize + count);
            let mut hooks = Hooks::new(watch, work.output, held, (&part, from), steps(&request));
            let drawn = run(
                &part,
                &held.model,
                &sent,
                machine::free_memory(),
                &mut hooks,
            );
            let (done, fault) = hooks.end();
            missing = &missing[done.min(missing.len())..];
            match (fault, drawn) {
                (Some(fault), _) => return Err(fault),
                (None, Err(Error::Dropped)) => return Ok(()),
                (None, Err(error)) => return Err(failed(&error)),
                // It was skipped, or all is there.
                (None, Ok(_)) if done > 0 => {}
                (None, Ok(_)) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// What a picture's file says.
fn read(picture: &[u8]) -> Result<Read, Error> {
    let metadata = Metadata::read("the picture", picture)?;
    let infotext = metadata.parameters.clone().unwrap_or_default();
    let program = metadata.program().map(str::to_owned);
    let base = match Base::of_picture("the picture", picture) {
        Ok(base) => base,
        Err(Error::NoSettings { reason, .. }) => {
            return Ok(Read {
                infotext,
                program,
                notes: vec![format!("the picture {reason}")],
                ..Read::default()
            });
        }
        Err(error) => return Err(error),
    };
    let remarks = base.remarks.iter();
    let mut notes: Vec<String> = remarks
        .map(|remark| format!("not taken over: {remark}"))
        .collect();
    notes.extend(base.notes.iter().cloned());
    Ok(Read {
        items: catalogue::items(&infotext),
        infotext,
        request: stated(&base.request),
        notes,
        program,
    })
}

/// The fields of a request that are not as they are by default.
fn stated(request: &Request) -> Map<String, Value> {
    fn differing(own: Value, default: Option<&Value>) -> Option<Value> {
        match (own, default) {
            (Value::Object(own), Some(Value::Object(default))) => {
                let fields = own.into_iter().filter_map(|(name, value)| {
                    let value = differing(value, default.get(&name))?;
                    Some((name, value))
                });
                let fields: Map<_, _> = fields.collect();
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
            (Value::Null, _) => None,
            (own, default) => (Some(&own) != default).then_some(own),
        }
    }
    let own = serde_json::to_value(request).unwrap_or_default();
    let default = serde_json::to_value(Request::default()).unwrap_or_default();
    match differing(own, Some(&default)) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn converted(picture: &[u8], to: &Convert) -> Result<Encoded, Error> {
    let metadata = match to.output.text {
        true => Metadata::read("the picture", picture)?,
        false => Metadata::default(),
    };
    let mut made = Picture::decode("the picture", picture)?;
    if let Some((width, height)) = to.size {
        let size = Size {
            width: width as usize,
            height: height as usize,
        };
        let filter = match to.filter {
            Filter::Lanczos => resize::Filter::Lanczos,
            Filter::Nearest => resize::Filter::Nearest,
        };
        let mode = match to.fit {
            Fit::Stretch => ResizeMode::Stretch,
            Fit::Crop => ResizeMode::Crop,
        };
        made = made.fit(size, mode, filter);
    }
    let file = made.encode(format(to.output.format), to.output.quality, &metadata)?;
    Ok(Encoded {
        file,
        width: made.width() as u32,
        height: made.height() as u32,
    })
}

/// A format of the service, as pictures know it.
pub(super) fn format(format: service::Format) -> files::Format {
    match format {
        service::Format::Png => files::Format::Png,
        service::Format::Jpeg => files::Format::Jpeg,
        service::Format::Webp => files::Format::WebP,
    }
}
