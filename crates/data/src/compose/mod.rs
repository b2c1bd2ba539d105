//! Scenes of one to four objects with everything known about them: boxes, class masks, captions with counts, colours
//! and relations.
//!
//! Cut-outs with a name ([`Art`]) are put on plain or two-tone backgrounds without touching each other, so boxes and
//! masks are exact. A colour is only named where it is measured in the pixels, and a cut-out painted in another colour
//! is called by it. Scene `index` is a function of (seed, index), and a stable hash of (concept, style) decides what is
//! held out for tests, so that sets made at different times agree.

mod art;
mod caption;
mod colour;
mod composer;
mod english;
mod facts;
mod ground;
mod layout;
mod looks;
mod manner;
mod orient;
mod scene;
mod shapes;
mod single;
mod split;

pub use art::{Art, Drawing};
pub(crate) use art::{trim, words};
pub use caption::{find, phrase, with_noun};
pub use colour::Colour;
pub use composer::{Composer, SceneOptions};
pub(crate) use english::article;
pub use english::{number, plural};
pub use facts::Facts;
pub(crate) use ground::{clear_ground, is_opaque};
pub use manner::{Framing, Ground, Manner};
pub use orient::{Mask, orient, orientations};
pub use scene::{Background, Group, Object, Relation, Scene};
pub use single::{Single, singles};
pub use split::Split;
