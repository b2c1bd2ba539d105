//! Hypernetworks in a request: those of its table, and those that A1111 reads out of the prompt (`<hypernet:NAME:0.8>`).

mod written;

use latent_checkpoint::HypernetworkFile;
use latent_models::hypernetwork::Bend;
use latent_models::{HypernetworkConfig, UNetConfig};
use latent_text::Dialect;

use crate::error::{Error, Result};
use crate::family::{FAMILIES, Family};
use crate::loras::{Mention, mentions};
use crate::model::Model;
use crate::profile::Profile;
use crate::request::{Request, UsedHypernetwork};
use crate::resources::Resources;

pub use written::typed;
pub(crate) use written::{in_line, of_line, tag};

/// Every hypernetwork of a request, those in its prompts first: the order in which they act.
///
/// # Errors
/// A tag that cannot be honoured; a second pass whose prompt names others than the first's, since one network draws both.
pub fn asked(request: &Request) -> Result<Vec<UsedHypernetwork>> {
    if Profile::of(request.compat).dialect != Dialect::A1111 {
        return Ok(request.hypernetworks.clone());
    }
    let of = |field, text: &str| -> Result<Vec<UsedHypernetwork>> {
        let mentions = mentions(text).into_iter();
        let each = mentions.filter(Mention::is_hypernetwork).map(|mention| {
            let read = written::mentioned(&mention);
            read.map_err(|expected| Error::field(field, &mention.text, expected))
        });
        each.collect()
    };
    let mut all = of("prompt", &request.prompt)?;
    let hires = request.hires.as_ref();
    if let Some(text) = hires.and_then(|hires| hires.prompt.as_deref())
        && of("hires.prompt", text)? != all
    {
        return Err(Error::field(
            "hires.prompt",
            format!("{text:?}"),
            "the same <hypernet:…> as in `prompt`: both passes are drawn by one network. A hypernetwork of the table \
             (--hypernetwork) holds for both",
        ));
    }
    if let Some(text) = &request.prompt_2 {
        all.extend(of("prompt_2", text)?);
    }
    all.extend_from_slice(&request.hypernetworks);
    Ok(all)
}

/// Reads the hypernetworks of a request, in the type of the model's denoiser.
///
/// # Errors
/// One that is not there, cannot be read, or was made for another family.
pub(crate) fn bends(
    request: &Request,
    model: &Model,
    resources: &dyn Resources,
    note: &mut dyn FnMut(String),
) -> Result<Vec<Bend>> {
    let each = resources.hypernetworks(request)?.into_iter();
    let each = each.map(|(used, path)| {
        let file = HypernetworkFile::open(&path)?;
        let wrong = |reason| Error::Part {
            field: "hypernetworks",
            path: path.clone(),
            reason,
        };
        let unet = model.unet().map_err(wrong)?;
        let unread = unread(file.config(), unet, model.family.name).map_err(wrong)?;
        if !unread.is_empty() {
            let widths: Vec<String> = unread.iter().map(usize::to_string).collect();
            note(format!(
                "left out of {}: its layers for the width {}, which no attention of this model reads",
                path.display(),
                widths.join(" and ")
            ));
        }
        let network = file.load(&model.device, model.denoiser.dtype())?;
        Ok(Bend {
            network: network.packed(),
            strength: used.strength,
        })
    });
    each.collect()
}

/// The widths of a hypernetwork that nothing in a U-Net has, where it still was made for such.
fn unread(
    config: &HypernetworkConfig,
    unet: &UNetConfig,
    family: &str,
) -> Result<Vec<usize>, String> {
    let read = config.widths_in(unet);
    let mut unread = config.widths();
    unread.retain(|width| !read.contains(width));
    let reads_context = unet.context.is_some_and(|width| read.contains(&width));
    if read.is_empty() || !(unread.is_empty() || reads_context) {
        let made = made_for(config).unwrap_or("another kind of model");
        let widths: Vec<String> = config.widths().iter().map(usize::to_string).collect();
        return Err(format!(
            "it is a hypernetwork for {made} (widths {}), and the model is of the family {family}{}: give one that was made for it",
            widths.join(", "),
            match unet.context {
                Some(width) => format!(", whose tokens are of width {width}"),
                None => String::new(),
            }
        ));
    }
    Ok(unread)
}

/// The family that a hypernetwork was made for, by the width of the tokens that it bends; `None` where it bends pixels alone, or
/// the tokens of several families.
pub fn made_for(config: &HypernetworkConfig) -> Option<&'static str> {
    let widths = config.widths();
    let context = |family: &Family| family.texts.iter().map(|text| text.width).sum::<usize>();
    // Pixels of the published networks are 320, 640 and 1280 wide, whatever the context.
    let told = |family: &&Family| widths.contains(&context(family)) && context(family) % 320 != 0;
    let mut found = FAMILIES.iter().filter(told);
    let first = found.next()?;
    // Families of one width go by the first's name.
    let one = found.all(|other| context(other) == context(first));
    one.then_some(first.name)
}
