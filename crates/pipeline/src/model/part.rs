//! A network of a model: in memory, or in its file until it is needed.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::DType;
use latent_checkpoint::load::plan;
use latent_checkpoint::patch::{Patch, Targets};
use latent_checkpoint::{Checkpoint, ControlChanges, Kind, LoadOptions, ModelError, Report, Role};
use latent_models::{
    ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, Conditioner, ConditionerConfig,
    ControlNet, ControlNetConfig, Denoiser, DenoiserConfig, Form, IpAdapter, IpAdapterConfig,
    StyleAdapter, StyleAdapterConfig, T2iAdapter, T2iAdapterConfig, exchanged, parameter_count,
};

/// What a model asks of its networks, whatever their kind.
pub trait Net: Clone + Debug {
    /// What it is called while it is read.
    const NAME: &str;
    /// What the network is made of.
    type Config: Clone + Debug;

    /// What this one is made of.
    fn config(&self) -> Self::Config;
    /// The type that it computes in.
    fn dtype(&self) -> DType;
    /// How many numbers its parameters hold.
    fn parameters(&self) -> usize;
    /// With weights as kernels read them, for latents of about `latent` (height, width).
    fn packed(self, form: Form, latent: [usize; 2]) -> Self;
    /// What a checkpoint's network is made of.
    ///
    /// # Errors
    /// When there is none in that role, or one of another kind.
    fn stored(checkpoint: &Checkpoint, role: Role) -> Result<Self::Config, ModelError>;
    /// Reads it.
    ///
    /// # Errors
    /// When it does not fit, or a weight cannot be read.
    fn read(source: &Source, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, ModelError>;
}

/// A network of which some modules can be read again.
pub trait Adaptable: Net {
    /// The network with the modules for which `chosen` holds read again and packed as `pack` says.
    ///
    /// # Errors
    /// A weight that cannot be read.
    fn again(
        self,
        source: &Source,
        chosen: &dyn Fn(&str) -> bool,
        pack: Option<(Form, [usize; 2])>,
    ) -> Result<Self, ModelError>;
}

impl Adaptable for Denoiser {
    fn again(
        self,
        source: &Source,
        chosen: &dyn Fn(&str) -> bool,
        pack: Option<(Form, [usize; 2])>,
    ) -> Result<Self, ModelError> {
        let (role, options) = (source.role, &source.options);
        let read = source
            .checkpoint
            .load_some_of_denoiser(role, options, chosen)?;
        let read = match pack {
            Some((form, latent)) => read.packed_some(form, latent, chosen),
            None => read,
        };
        Ok(exchanged(self, read, chosen))
    }
}

impl Adaptable for ClipText {
    fn again(
        self,
        source: &Source,
        chosen: &dyn Fn(&str) -> bool,
        pack: Option<(Form, [usize; 2])>,
    ) -> Result<Self, ModelError> {
        let (role, options) = (source.role, &source.options);
        let read = source
            .checkpoint
            .load_some::<ClipTextConfig>(role, options, chosen)?;
        let read = match pack {
            Some(_) => read.packed_some(chosen),
            None => read,
        };
        Ok(exchanged(self, read, chosen))
    }
}

/// Where a network is read from, and how.
#[derive(Debug, Clone)]
pub struct Source {
    /// The files.
    pub checkpoint: Arc<Checkpoint>,
    /// Which of their networks.
    pub role: Role,
    /// Device and type, among others.
    pub options: LoadOptions,
    /// A ControlNet is these changes of the checkpoint's denoiser.
    pub changes: Option<Arc<ControlChanges>>,
}

impl Source {
    /// Reads the network, which is of kind `K`.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]'s.
    pub fn load<K: Kind>(
        &self,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<K::Net, ModelError> {
        let loaded = self
            .checkpoint
            .load::<K>(self.role, &self.options, progress)?;
        Ok(loaded.0)
    }
}

/// The kinds whose networks are what they are made of alone.
macro_rules! nets {
    ($($name:literal $net:ty: $config:ty { dtype: $dtype:expr, packed: $packed:expr })*) => {
        $(impl Net for $net {
            const NAME: &str = $name;
            type Config = $config;

            fn config(&self) -> $config {
                self.config().clone()
            }
            fn dtype(&self) -> DType {
                let dtype: fn(&Self) -> DType = $dtype;
                dtype(self)
            }
            fn parameters(&self) -> usize {
                parameter_count(self)
            }
            fn packed(self, form: Form, latent: [usize; 2]) -> Self {
                let packed: fn(Self, Form, [usize; 2]) -> Self = $packed;
                packed(self, form, latent)
            }
            fn stored(checkpoint: &Checkpoint, role: Role) -> Result<$config, ModelError> {
                checkpoint.config::<$config>(role).cloned()
            }
            fn read(
                source: &Source,
                progress: &mut dyn FnMut(usize, usize),
            ) -> Result<Self, ModelError> {
                source.load::<$config>(progress)
            }
        })*
    };
}

nets! {
    "text encoder" ClipText: ClipTextConfig {
        dtype: |network| network.dtype(),
        packed: |network, _, _| network.packed()
    }
    "image encoder" ClipVision: ClipVisionConfig {
        dtype: |network| network.dtype(),
        packed: |network, _, _| network.packed()
    }
    // These run once for a picture.
    "IP-Adapter" IpAdapter: IpAdapterConfig {
        dtype: |network| network.dtype(),
        packed: |network, _, _| network
    }
    "T2I-Adapter" T2iAdapter: T2iAdapterConfig {
        dtype: |network| network.dtype(),
        packed: |network, _, _| network
    }
    "T2I-Adapter of style" StyleAdapter: StyleAdapterConfig {
        dtype: |network| network.dtype(),
        packed: |network, _, _| network
    }
    // Small, and its tables of words overflow nothing: in f32 whatever the others run in.
    "conditioner" Conditioner: ConditionerConfig {
        dtype: |_| DType::F32,
        packed: |network, _, _| network
    }
}

impl Net for Denoiser {
    const NAME: &str = "denoiser";
    type Config = DenoiserConfig;

    fn config(&self) -> DenoiserConfig {
        self.config()
    }
    fn dtype(&self) -> DType {
        self.dtype()
    }
    fn parameters(&self) -> usize {
        parameter_count(self)
    }
    fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        self.packed(form, latent)
    }
    fn stored(checkpoint: &Checkpoint, role: Role) -> Result<DenoiserConfig, ModelError> {
        checkpoint.denoiser(role)
    }
    fn read(source: &Source, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, ModelError> {
        let (checkpoint, options) = (&source.checkpoint, &source.options);
        Ok(checkpoint.load_denoiser(source.role, options, progress)?.0)
    }
}

impl Net for ControlNet {
    const NAME: &str = "ControlNet";
    type Config = ControlNetConfig;

    fn config(&self) -> ControlNetConfig {
        self.config().clone()
    }
    fn dtype(&self) -> DType {
        self.dtype()
    }
    fn parameters(&self) -> usize {
        parameter_count(self)
    }
    fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        self.packed(form, latent)
    }
    fn stored(checkpoint: &Checkpoint, role: Role) -> Result<ControlNetConfig, ModelError> {
        checkpoint.config::<ControlNetConfig>(role).cloned()
    }
    fn read(source: &Source, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, ModelError> {
        match &source.changes {
            Some(changes) => changes.load(&source.checkpoint, &source.options, progress),
            None => source.load::<ControlNetConfig>(progress),
        }
    }
}

/// A network of a model. One that was opened from a file is checked against it at once, and its weights are read when they
/// are first asked for; they can be given up and read again.
#[derive(Debug)]
pub struct Part<N: Net> {
    config: N::Config,
    parameters: usize,
    dtype: DType,
    /// How it is packed once it is read.
    pack: Option<(Form, [usize; 2])>,
    source: Option<Source>,
    held: Mutex<Option<Arc<N>>>,
}

impl<N: Net> From<N> for Part<N> {
    fn from(network: N) -> Self {
        Self {
            config: network.config(),
            parameters: network.parameters(),
            dtype: network.dtype(),
            pack: None,
            source: None,
            held: Mutex::new(Some(Arc::new(network))),
        }
    }
}

impl<N: Net> Part<N> {
    /// Declares a network of a file: its names, shapes and types are checked, and no weight is read.
    ///
    /// # Errors
    /// A network that is not there, is of another kind, or does not fit.
    pub fn open(source: Source) -> Result<(Self, Report), ModelError> {
        let Source {
            checkpoint,
            role,
            options,
            changes: _,
        } = &source;
        let config = N::stored(checkpoint, *role)?;
        let part = checkpoint.part(*role)?;
        let report = plan(checkpoint, part, options.moving_average)?.report();
        let parameters = part.config.parameters();
        let numbers = parameters
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>());
        let numbers = numbers.sum();
        Ok((Self::declared(config, numbers, source), report))
    }

    /// Declares a network of so many parameters that is checked already.
    pub(super) fn declared(config: N::Config, parameters: usize, source: Source) -> Self {
        Self {
            config,
            parameters,
            dtype: source.options.dtype,
            pack: None,
            held: Mutex::new(None),
            source: Some(source),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &N::Config {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The network, read from its file where it is not in memory.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn get(&self) -> Result<Arc<N>, ModelError> {
        self.get_with(&mut |_, _| {})
    }

    /// [`get`](Self::get), with the parameters read so far and their number.
    ///
    /// # Errors
    /// As [`get`](Self::get)'s.
    pub fn get_with(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Arc<N>, ModelError> {
        let mut held = self.lock();
        let network = match (held.as_ref(), &self.source) {
            (Some(network), _) => return Ok(Arc::clone(network)),
            (None, Some(source)) => N::read(source, progress)?,
            (None, None) => unreachable!("a network without a file is never given up"),
        };
        let network = Arc::new(match self.pack {
            Some((form, latent)) => network.packed(form, latent),
            None => network,
        });
        *held = Some(Arc::clone(&network));
        Ok(network)
    }

    /// The parameters of its file's network, as patches see them.
    ///
    /// # Errors
    /// A network that came from no file.
    pub(super) fn targets(&self) -> Result<Targets, ModelError> {
        let Some(source) = &self.source else {
            return Err(ModelError::Request {
                path: N::NAME.into(),
                problem: "it came from no file, so that nothing can be merged into it".to_owned(),
            });
        };
        let part = source.checkpoint.part(source.role)?;
        Ok(Targets::of(source.role, &part.config))
    }

    /// The same, packed now or when it is read.
    pub(super) fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        let held = self.held.into_inner();
        let held = held.unwrap_or_else(PoisonError::into_inner);
        let held = held.map(|network| Arc::unwrap_or_clone(network).packed(form, latent));
        Self {
            pack: Some((form, latent)),
            held: Mutex::new(held.map(Arc::new)),
            ..self
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<N>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The modules that `old` or `new` change and the other does not change alike.
fn touched<'a>(
    targets: &'a Targets,
    old: &[Arc<dyn Patch>],
    new: &[Arc<dyn Patch>],
) -> Result<HashSet<&'a str>, ModelError> {
    let has =
        |all: &[Arc<dyn Patch>], one: &Arc<dyn Patch>| all.iter().any(|own| Arc::ptr_eq(own, one));
    let gone = old.iter().filter(|one| !has(new, one));
    let come = new.iter().filter(|one| !has(old, one));
    let other: Vec<&Arc<dyn Patch>> = gone.chain(come).collect();
    let mut touched = HashSet::new();
    for target in targets.all() {
        for patch in &other {
            if patch.changes(&target)? {
                let module = target.name.rsplit_once('.');
                touched.insert(module.map_or("", |(module, _)| module));
            }
        }
    }
    Ok(touched)
}

impl<N: Adaptable> Part<N> {
    /// The network with other changes of its weights than its own; what is held stays as it is. Modules that are changed alike are
    /// shared.
    ///
    /// # Errors
    /// Changes that do not fit, weights that cannot be read.
    pub(super) fn with(
        &self,
        targets: &Targets,
        patches: &[Arc<dyn Patch>],
    ) -> Result<Arc<N>, ModelError> {
        let network = self.get()?;
        let Some(source) = &self.source else {
            return Ok(network);
        };
        let touched = touched(targets, &source.options.patches, patches)?;
        if touched.is_empty() {
            return Ok(network);
        }
        let source = Source {
            options: LoadOptions {
                patches: patches.to_vec(),
                ..source.options.clone()
            },
            ..source.clone()
        };
        let network = N::clone(&network);
        let chosen = |module: &str| touched.contains(module);
        Ok(Arc::new(network.again(&source, &chosen, self.pack)?))
    }

    /// Exchanges what changes its weights. Where the network is in memory, the modules that are changed by the old or by the new are
    /// read again, and no others.
    ///
    /// # Errors
    /// Changes that do not fit, weights that cannot be read: it is then given up, to be read again as it was.
    pub(super) fn adapt(
        &mut self,
        targets: &Targets,
        patches: &[Arc<dyn Patch>],
    ) -> Result<(), ModelError> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let touched = touched(targets, &source.options.patches, patches)?;
        let old = std::mem::replace(&mut source.options.patches, patches.to_vec());
        if touched.is_empty() {
            return Ok(());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(network) = held.take() else {
            return Ok(());
        };
        let network = Arc::unwrap_or_clone(network);
        let read = network.again(source, &|module| touched.contains(module), self.pack);
        match read {
            Ok(network) => *held = Some(Arc::new(network)),
            Err(error) => {
                source.options.patches = old;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// A [`Part`] of whatever network.
pub trait Held {
    /// What the network is called while it is read.
    fn name(&self) -> &'static str;
    /// Bytes of its parameters.
    fn bytes(&self) -> u64;
    /// Whether its weights are in memory.
    fn is_held(&self) -> bool;
    /// Reads its weights where they are not in memory. `progress` is called with the parameters read so far and their number.
    ///
    /// # Errors
    /// A weight that cannot be read.
    fn read(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<(), ModelError>;
    /// Frees its weights as soon as nobody has them any more. A network that came from no file stays.
    fn release(&self);
}

impl<N: Net> Held for Part<N> {
    fn name(&self) -> &'static str {
        N::NAME
    }

    fn bytes(&self) -> u64 {
        (self.parameters * self.dtype.size()) as u64
    }

    fn is_held(&self) -> bool {
        self.lock().is_some()
    }

    fn read(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<(), ModelError> {
        self.get_with(progress).map(drop)
    }

    fn release(&self) {
        if self.source.is_some() {
            *self.lock() = None;
        }
    }
}
