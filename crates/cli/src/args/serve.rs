//! The arguments of `latent serve` and `latent worker`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::{LibraryArgs, LoraLibraryArgs};

/// `latent serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The address and port that it listens on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7860))]
    pub listen: SocketAddr,
    /// Where jobs and pictures are kept [default: latent in this user's data folder].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Answer only: `latent worker` draws, here or elsewhere.
    #[arg(long, requires = "store")]
    pub no_draw: bool,
    #[command(flatten)]
    pub draw: EngineArgs,
    /// Somebody who may use it. Can be given several times; needed where others than this machine reach it.
    #[arg(long, value_name = "USER:PASSWORD")]
    pub auth: Vec<String>,
    /// The same from a file, one a line, so that no other program sees them.
    #[arg(long, value_name = "FILE")]
    pub auth_from: Option<PathBuf>,
    /// Everybody who reaches it may draw, read and delete, although others than this machine do.
    #[arg(long, conflicts_with_all = ["auth", "auth_from"])]
    pub no_auth: bool,
    /// A name under which it is reached, such as that of a proxy. Can be given several times.
    #[arg(long, value_name = "HOST")]
    pub allowed_host: Vec<String>,
    /// Origins whose pages may use it, divided by commas.
    #[arg(long, value_name = "ORIGIN,…", value_delimiter = ',')]
    pub cors_allow_origins: Vec<String>,
    /// Open the page in the browser.
    #[arg(long)]
    pub open: bool,
    /// Start without drawing, until the queue is resumed.
    #[arg(long)]
    pub paused: bool,
    /// Say in the log what is drawn; prompts are kept out of it otherwise.
    #[arg(long)]
    pub log_prompts: bool,
    /// Write nothing but the queue: pictures and uploads are in memory, and all of a job is gone ten minutes after it.
    #[arg(long, conflicts_with_all = ["log_prompts", "store"])]
    pub private: bool,
    /// Requests a minute of each user, or of each address where nobody is asked for a name, a tenth of them at once.
    #[arg(long, value_name = "N", default_value_t = 6000)]
    pub rate_limit: u32,
}

/// What several machines share.
#[derive(Debug, Args)]
pub struct SharedArgs {
    /// The queue lies in PostgreSQL, and `latent worker` may draw from it elsewhere: postgres://USER:PASSWORD@HOST/NAME
    /// [default: what the environment variable LATENT_DATABASE says, where --store is given].
    #[arg(long, value_name = "URL", requires = "store")]
    pub database: Option<String>,
    /// The folder of pictures, the same for all that share the database.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// What is drawn with.
#[derive(Debug, Args)]
pub struct EngineArgs {
    #[command(flatten)]
    pub library: LibraryArgs,
    #[command(flatten)]
    pub loras: LoraLibraryArgs,
    /// A folder of embeddings (textual inversion). Can be given several times.
    #[arg(long, aliases = ["embd-dir", "embeddings-dir"], value_name = "DIR")]
    pub embeddings: Vec<PathBuf>,
    /// A folder of hypernetworks. Can be given several times.
    #[arg(long, value_name = "DIR")]
    pub hypernetworks: Vec<PathBuf>,
    /// Where to draw: cpu, or a GPU that this build has.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads that draw [default: all].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `latent worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub shared: SharedArgs,
    #[command(flatten)]
    pub draw: EngineArgs,
}
