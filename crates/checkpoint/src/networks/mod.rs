//! Kinds of networks in files.
//!
//! What is particular to one kind stands in one place, its [`Kind`]: the names of its tensors in each scheme, where they
//! lie in a file, its configuration read from shapes and from JSON and written as JSON, its limits, its classes. What a
//! network is *for* in a model (the second text encoder) is its [`Role`]. Loading, converting and describing know neither:
//! they go through [`Network`], which is one of the kinds. A new kind is a file here and a word in the list below.

pub mod autoencoder;
pub mod autoencoder_tiny;
pub mod clip_text;
pub mod clip_vision;
pub mod conditioner;
pub mod controlnet;
mod error;
pub mod image_normalizer;
pub mod ip_adapter;
pub(crate) mod keys;
mod role;
mod shapes;
pub mod style_adapter;
pub mod t2i;
pub mod transformer;
pub mod unet;

use burn::module::Module;
use burn::tensor::Device;
use latent_models::DenoiserConfig;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::names::Table;
pub use autoencoder::StoredAutoencoder;
pub use error::DetectError;
pub use role::{Found, Role, Scheme, Spot, find};
pub(crate) use role::{attachment_key, find_stated};
pub use shapes::Shapes;

/// The version of diffusers whose settings files are written.
pub(crate) const DIFFUSERS: &str = "0.42.1";
/// What the classes in `config.json` begin with where a network's settings are this project's own and stand under
/// `network`: `LatentUNet`, `LatentTransformer`, `LatentAutoencoder`, `LatentConditioner`.
pub(crate) const OWN_CLASS: &str = "Latent";
/// Channels, widths, rows of tables, tokens: every published network is far inside. Listing a network takes memory in
/// its number of modules, and a settings file of a hundred bytes can ask for billions.
pub(crate) const WIDEST: usize = 1 << 24;
/// Blocks in a row.
pub(crate) const LONGEST: usize = 1024;

/// What files say about one kind of network. It is implemented by the network's configuration.
pub trait Kind:
    Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + Into<Network>
{
    /// The network.
    type Net: Module;
    /// Its class where the settings are this project's own, after `Latent`.
    const OWN: &str;
    /// Classes that a `config.json` or a `model_index.json` gives it.
    const CLASSES: &[&str];
    /// Roles that it plays; the first where a folder's name says none.
    const ROLES: &[Role];
    /// Where its tensors lie in files; the first of a role and scheme is where they are written.
    const SPOTS: &[Spot];
    /// Whether its folders are transformers' (weights called `model.safetensors`), not diffusers'.
    const TRANSFORMERS: bool = false;

    /// The configuration in `network`, if it is of this kind.
    fn of(network: &Network) -> Option<&Self>;
    /// The network, its parameters declared and not stored.
    fn init(&self, device: &Device) -> Self::Net;
    /// Its names in `scheme`.
    fn table(&self, scheme: Scheme) -> Table;
    /// Its configuration from names and shapes.
    ///
    /// # Errors
    /// The first tensor that is missing or of a shape that no network of the kind has.
    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError>;
    /// Its configuration from the published `config.json`.
    ///
    /// # Errors
    /// The first key whose value is not built here.
    fn from_json(value: &Value) -> Result<Self, DetectError>;
    /// The published `config.json`. `side` is that of the latent square that the model draws by default.
    ///
    /// # Errors
    /// Why the published classes cannot say it, as a sentence.
    fn to_json(&self, side: usize) -> Result<Value, String>;
    /// Whether it can be built and listed.
    ///
    /// # Errors
    /// The first field that is wrong or too large.
    fn check(&self) -> Result<(), DetectError>;

    /// Settings of this project's own for a network that the published classes cannot say.
    fn own_json(&self) -> Value {
        json!({"_class_name": format!("{OWN_CLASS}{}", Self::OWN), "network": self})
    }
    /// Reads [`own_json`](Self::own_json).
    ///
    /// # Errors
    /// Settings of the wrong form.
    fn from_own_json(value: &Value) -> Result<Self, DetectError> {
        own_settings(value)
    }
    /// Whether a file's names and shapes that lead to `found` lead to this configuration: equal, or not told apart.
    fn is_found_as(&self, found: &Self) -> bool {
        self == found
    }
    /// The scheme of its names in a single file of the original form.
    fn file_scheme(&self) -> Scheme {
        Scheme::Diffusers
    }
    /// The component's folder where it is not the role's own.
    fn folder(&self) -> Option<&'static str> {
        None
    }
    /// Why its tensor `name` (below the prefix) is left unread where the list of known names does not say.
    fn ignored(&self, _scheme: Scheme, _name: &str) -> Option<&'static str> {
        None
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($kind:ty),)*) => {
        /// The configuration of a network of one of the kinds.
        #[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Network { $($(#[$doc])* $name($kind),)* }

        $(impl From<$kind> for Network {
            fn from(config: $kind) -> Self { Self::$name(config) }
        })*

        /// Evaluates an expression with the configuration in a [`Network`], whatever its kind.
        macro_rules! each {
            ($network:expr, $config:ident => $value:expr) => {
                match $network { $(Network::$name($config) => $value,)* }
            };
        }

        /// Every kind, in the order in which a file's networks are listed.
        pub(crate) const KINDS: &[Entry] = &[$(Entry::of::<$kind>()),*];

        impl PartialEq<Network> for Entry {
            /// Whether the network is of this kind.
            fn eq(&self, network: &Network) -> bool {
                match network { $(Network::$name(_) => self.own == <$kind as Kind>::OWN,)* }
            }
        }
    };
}

kinds! {
    /// A denoising U-Net.
    Unet(latent_models::UNetConfig),
    /// A denoising transformer.
    Transformer(latent_models::TransformerConfig),
    /// A picture compressor, KL or VQ.
    Autoencoder(StoredAutoencoder),
    /// A tiny picture compressor that was distilled from another.
    AutoencoderTiny(latent_models::AutoencoderTinyConfig),
    /// A CLIP text encoder.
    TextEncoder(latent_models::ClipTextConfig),
    /// A CLIP encoder of pictures.
    ImageEncoder(latent_models::ClipVisionConfig),
    /// The statistics of such an encoder's embeddings.
    ImageNormalizer(latent_models::EmbeddingNormalizerConfig),
    /// A ControlNet.
    ControlNet(latent_models::ControlNetConfig),
    /// An IP-Adapter.
    IpAdapter(latent_models::IpAdapterConfig),
    /// A T2I-Adapter.
    T2iAdapter(latent_models::T2iAdapterConfig),
    /// A T2I-Adapter of style.
    StyleAdapter(latent_models::StyleAdapterConfig),
    /// What reads a condition of a model that was trained here.
    Conditioner(latent_models::ConditionerConfig),
}

/// A kind as a value.
pub(crate) struct Entry {
    own: &'static str,
    pub(crate) classes: &'static [&'static str],
    pub(crate) roles: &'static [Role],
    pub(crate) spots: &'static [Spot],
    from_shapes: fn(&Shapes<'_>, Scheme) -> Result<Network, DetectError>,
    from_json: fn(&Value) -> Result<Network, DetectError>,
    from_own_json: fn(&Value) -> Result<Network, DetectError>,
}

impl Entry {
    const fn of<K: Kind>() -> Self {
        Self {
            own: K::OWN,
            classes: K::CLASSES,
            roles: K::ROLES,
            spots: K::SPOTS,
            from_shapes: |shapes, scheme| K::from_shapes(shapes, scheme).map(Into::into),
            from_json: |value| K::from_json(value).map(Into::into),
            from_own_json: |value| K::from_own_json(value).map(Into::into),
        }
    }

    /// The kind that a component of class `class` is.
    pub(crate) fn of_class(class: &str) -> Option<&'static Self> {
        let own = class.strip_prefix(OWN_CLASS);
        KINDS
            .iter()
            .find(|kind| own == Some(kind.own) || kind.classes.contains(&class))
    }

    /// The role of a component in the folder `name`.
    pub(crate) fn role(&self, name: &str) -> Role {
        let named = self.roles.iter().find(|role| role.folder() == name);
        *named.unwrap_or(&self.roles[0])
    }

    /// A network of this kind from the settings of a component.
    pub(crate) fn read(&self, json: &Value) -> Result<Network, DetectError> {
        let class = json.get("_class_name").and_then(Value::as_str);
        let own = class.is_some_and(|class| class.starts_with(OWN_CLASS));
        let network = if own {
            self.from_own_json
        } else {
            self.from_json
        };
        let network = network(json)?;
        network.check()?;
        Ok(network)
    }

    /// A network of this kind from its tensors.
    pub(crate) fn detect(
        &self,
        shapes: &Shapes<'_>,
        scheme: Scheme,
    ) -> Result<Network, DetectError> {
        let network = (self.from_shapes)(shapes, scheme)?;
        network.check()?;
        Ok(network)
    }
}

impl From<DenoiserConfig> for Network {
    fn from(config: DenoiserConfig) -> Self {
        match config {
            DenoiserConfig::Unet(config) => config.into(),
            DenoiserConfig::Transformer(config) => config.into(),
        }
    }
}

impl Network {
    /// The configuration of a denoiser, if it is one.
    pub fn denoiser(&self) -> Option<DenoiserConfig> {
        match self {
            Self::Unet(config) => Some(config.clone().into()),
            Self::Transformer(config) => Some(config.clone().into()),
            _ => None,
        }
    }

    /// The name table of this network in `scheme`.
    pub fn table(&self, scheme: Scheme) -> Table {
        each!(self, config => config.table(scheme))
    }

    /// Every parameter's published name and shape.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        // Listing a lazy network allocates nothing, so the device is never used.
        let device = Device::flex();
        each!(self, config => latent_models::parameters(&Kind::init(config, &device)))
    }

    /// What kind it is, for messages.
    pub fn kind(&self) -> &'static str {
        fn name<K: Kind>(_: &K) -> &'static str {
            K::OWN
        }
        each!(self, config => name(config))
    }

    /// Its `config.json` in the published words.
    pub(crate) fn to_json(&self, side: usize) -> Result<Value, String> {
        each!(self, config => config.to_json(side)).map(sorted)
    }

    /// Its `config.json` in this project's own words.
    pub(crate) fn own_json(&self) -> Value {
        each!(self, config => config.own_json())
    }

    /// Whether it can be built and listed.
    pub(crate) fn check(&self) -> Result<(), DetectError> {
        each!(self, config => config.check())
    }

    pub(crate) fn file_scheme(&self) -> Scheme {
        each!(self, config => config.file_scheme())
    }

    /// The prefix of its names in a file of it alone; `None` where such a file could not be read again, because its
    /// tensors do not say how it is built.
    pub(crate) fn prefix_alone(&self) -> Option<&'static str> {
        fn prefix<K: Kind>(config: &K) -> Option<&'static str> {
            let told =
                |spot: &&Spot| spot.scheme == config.file_scheme() && !spot.anchor.is_empty();
            let prefixes = K::SPOTS.iter().filter(told).map(|spot| spot.prefix);
            prefixes.min_by_key(|prefix| prefix.len())
        }
        each!(self, config => prefix(config))
    }

    /// The prefix of its names in a single file of a model with `texts` text encoders, as `role`.
    pub(crate) fn prefix_in_file(&self, role: Role, texts: usize) -> Option<&'static str> {
        fn prefix<K: Kind>(config: &K, role: Role, texts: usize) -> Option<&'static str> {
            let scheme = config.file_scheme();
            let mut spots = K::SPOTS.iter();
            let spot = spots.find(|spot| {
                spot.role == role && spot.scheme == scheme && spot.texts.is_none_or(|n| n == texts)
            })?;
            Some(spot.prefix)
        }
        each!(self, config => prefix(config, role, texts))
    }

    /// What its names and shapes in a single file lead to.
    pub(crate) fn detect_again(&self, shapes: &Shapes<'_>) -> Result<Self, DetectError> {
        fn again<K: Kind>(config: &K, shapes: &Shapes<'_>) -> Result<Network, DetectError> {
            K::from_shapes(shapes, config.file_scheme()).map(Into::into)
        }
        each!(self, config => again(config, shapes))
    }

    pub(crate) fn folder(&self) -> Option<&'static str> {
        each!(self, config => config.folder())
    }

    pub(crate) fn ignored(&self, scheme: Scheme, name: &str) -> Option<&'static str> {
        each!(self, config => config.ignored(scheme, name))
    }

    /// What its weights are called in a component's folder, without the ending.
    pub(crate) fn weights_stem(&self) -> &'static str {
        fn stem<K: Kind>(_: &K) -> &'static str {
            match K::TRANSFORMERS {
                true => "model",
                false => "diffusion_pytorch_model",
            }
        }
        each!(self, config => stem(config))
    }

    /// Whether names and shapes that lead to `found` lead to this configuration.
    pub(crate) fn is_found_as(&self, found: &Self) -> bool {
        fn same<K: Kind>(wanted: &K, found: &Network) -> bool {
            K::of(found).is_some_and(|found| wanted.is_found_as(found))
        }
        each!(self, config => same(config, found))
    }
}

/// The settings of a network that no published class says.
pub(crate) fn own_settings<T: DeserializeOwned>(json: &Value) -> Result<T, DetectError> {
    let network = json.get("network").cloned().unwrap_or_default();
    serde_json::from_value(network).map_err(|e| DetectError::Settings {
        what: "config.json",
        problem: format!("`network`: {e}"),
    })
}

/// Refuses what is too large to list.
pub(crate) fn at_most(field: &'static str, value: usize, limit: usize) -> Result<(), DetectError> {
    match value <= limit {
        true => Ok(()),
        false => Err(DetectError::TooLarge {
            field,
            value,
            limit,
        }),
    }
}

/// An object with its keys in order.
pub(crate) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.into_iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        value => value,
    }
}

/// One number if all are equal, else the list: diffusers takes either.
pub(crate) fn one_or_list(numbers: &[usize]) -> Value {
    match numbers.split_first() {
        Some((first, rest)) if rest.iter().all(|n| n == first) => json!(first),
        _ => json!(numbers),
    }
}

/// Adds the entries of `more` to `object`.
pub(crate) fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}
