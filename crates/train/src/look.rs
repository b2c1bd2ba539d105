//! The data, looked through before the first step: what a run would meet on its way is known, told or refused now.
//!
//! Captions, classes, boxes and masks of all pictures are read once; the pictures themselves are not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use latent_data::{Labels, Source, check, counted, printable};
use latent_text::TextTokenizer;

use crate::Error;

/// What a task asks of the data beside pictures.
#[derive(Debug, Clone, Default)]
pub enum Needs {
    /// Nothing.
    #[default]
    Nothing,
    /// A caption of every picture, an empty one perhaps.
    Captions {
        /// What makes tokens of them.
        words: Arc<TextTokenizer>,
        /// Tokens that are read, those of start and end included; the rest is cut.
        positions: usize,
    },
    /// A class of every picture.
    Classes {
        /// Rows of the table of classes.
        rows: usize,
        /// Whether the last row stands for no condition and so for no class.
        reserved: bool,
    },
    /// A mask of classes of every picture; 255 is no class.
    SemanticMap {
        /// How many classes there are.
        classes: usize,
    },
    /// Boxes.
    Boxes {
        /// How many classes there are.
        classes: usize,
        /// Boxes that are read of a picture, the largest; the rest is left out.
        most: usize,
    },
    /// A place of every picture among those whose vectors are known.
    Vectors {
        /// The names of these.
        known: Arc<HashSet<String>>,
    },
}

/// What is kept of one picture.
#[derive(Default)]
struct Seen {
    /// What it lacks, and what can be done.
    lacks: Option<&'static str>,
    /// Of its caption.
    tokens: usize,
    empty: bool,
    sided: bool,
    /// The largest class of it, its mask or its boxes.
    class: Option<u32>,
    boxes: usize,
}

impl Needs {
    fn see(&self, id: &str, labels: Labels) -> Seen {
        match self {
            Self::Nothing => Seen::default(),
            Self::Captions { words, .. } => match labels.caption {
                None => Seen {
                    lacks: Some("caption: write one, and be it an empty text"),
                    ..Seen::default()
                },
                Some(text) => Seen {
                    tokens: words.length(&text),
                    empty: text.is_empty(),
                    sided: text
                        .split(|c: char| !c.is_alphanumeric())
                        .any(|word| matches!(word.to_lowercase().as_str(), "left" | "right")),
                    ..Seen::default()
                },
            },
            Self::Classes { .. } => Seen {
                lacks: labels.class.is_none().then_some("class"),
                class: labels.class,
                ..Seen::default()
            },
            Self::SemanticMap { .. } => Seen {
                lacks: labels.mask.is_none().then_some("semantic map"),
                class: labels.mask.and_then(|mask| {
                    let classes = mask.as_raw().iter().filter(|class| **class != u8::MAX);
                    classes.max().map(|class| u32::from(*class))
                }),
                ..Seen::default()
            },
            Self::Boxes { .. } => Seen {
                class: labels.boxes.iter().map(|b| b.class).max(),
                boxes: labels.boxes.len(),
                ..Seen::default()
            },
            Self::Vectors { known } => Seen {
                lacks: (!known.contains(id)).then_some("vector in model.neighbours"),
                ..Seen::default()
            },
        }
    }
}

/// Pictures, the first of which are named.
#[derive(Default)]
struct Pictures {
    first: Vec<String>,
    count: usize,
}

impl Pictures {
    const NAMED: usize = 3;

    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(printable(&name()));
        }
    }
}

impl std::fmt::Display for Pictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Looks through a source. Gives what is to be told of it, a sentence each.
///
/// # Errors
/// What the first steps, or the last, would fail by.
pub fn look(source: &dyn Source, needs: &Needs, flip: f64) -> Result<Vec<String>, Error> {
    let about = source.about();
    let mut told = Vec::new();
    if about.format.is_some() {
        told.push(format!("read as {about}"));
    }
    told.extend(about.notes);
    if matches!(needs, Needs::Nothing) {
        return Ok(told);
    }
    let mut broken = Pictures::default();
    let mut lacking: Option<(&str, Pictures)> = None;
    let (mut empty, mut sided, mut longest, mut boxed) = (0, 0, 0, 0);
    let (mut cut, mut crowded) = (Pictures::default(), Pictures::default());
    let mut classes: BTreeMap<u32, (usize, String)> = BTreeMap::new();
    let positions = match needs {
        Needs::Captions { positions, .. } => *positions,
        _ => usize::MAX,
    };
    let most = match needs {
        Needs::Boxes { most, .. } => *most,
        _ => usize::MAX,
    };
    let masks = matches!(needs, Needs::SemanticMap { .. });
    let see = |index: usize, labels: Labels| needs.see(&source.id(index), labels);
    check::labels(source, masks, see, &mut |index, seen| {
        let id = || source.id(index);
        let seen = match seen {
            Ok(seen) => seen,
            Err(reason) => return broken.add(|| format!("{} ({reason})", source.id(index))),
        };
        if let Some(what) = seen.lacks {
            lacking.get_or_insert((what, Pictures::default())).1.add(id);
        }
        longest = longest.max(seen.tokens);
        empty += usize::from(seen.empty);
        sided += usize::from(seen.sided);
        boxed += usize::from(seen.boxes > 0);
        if seen.tokens > positions {
            cut.add(id);
        }
        if seen.boxes > most {
            crowded.add(id);
        }
        if let Some(class) = seen.class {
            classes.entry(class).or_insert_with(|| (0, id())).0 += 1;
        }
    });
    let good = source.len() - broken.count;
    if let Some((what, pictures)) = lacking {
        return Err(Error::Example {
            id: pictures.to_string(),
            problem: format!(
                "{} of {} pictures {} no {what}; the model's condition is made of it",
                pictures.count,
                source.len(),
                if pictures.count == 1 { "has" } else { "have" }
            ),
        });
    }
    if good == 0 {
        return Err(Error::Example {
            id: broken.to_string(),
            problem: format!("nothing of the {} pictures can be read", source.len()),
        });
    }
    if broken.count > 0 {
        told.push(format!(
            "{} labels that cannot be read and will be skipped: {broken}",
            pictures_have(broken.count)
        ));
    }
    let name = |class: u32| match source.classes().get(class as usize) {
        Some(name) => format!("{class} ({name})"),
        None => class.to_string(),
    };
    let within =
        |setting: &str, known: usize, least: usize, rest: &str| match classes.last_key_value() {
            Some((class, (_, id))) if *class as usize >= known => Err(Error::setting(
                setting,
                least,
                &format!(
                    "{} or more: {id} has class {}{rest}",
                    *class as usize + 1 + (least - known),
                    name(*class)
                ),
            )),
            _ => Ok(()),
        };
    match needs {
        Needs::Captions { positions, .. } => {
            let without = match empty {
                0 => String::new(),
                count => format!(", {count} of them without a word"),
            };
            told.push(format!(
                "captions: {good}{without}; {longest} tokens at most with start and end"
            ));
            if cut.count > 0 {
                told.push(format!(
                    "{} longer than the {positions} tokens that the text encoder reads, and cut: {cut}",
                    match cut.count {
                        1 => "1 caption is".to_owned(),
                        count => format!("{count} captions are"),
                    }
                ));
            }
            if flip > 0.0 && sided > 0 {
                told.push(format!(
                    "left or right is said in {}, and flip = {flip} mirrors their pictures: what they say becomes wrong",
                    counted(sided, "caption")
                ));
            }
        }
        Needs::Classes { rows, reserved } => {
            let (known, rest) = match reserved {
                true => (
                    rows.saturating_sub(1),
                    ", and the last row stands for no condition (model.objective.dropout, model.samples.guidance)",
                ),
                false => (*rows, ""),
            };
            within("model.conditioner.rows", known, *rows, rest)?;
            told.push(sizes_of(&classes));
        }
        Needs::SemanticMap { classes: known } => {
            let rest = " in its mask; 255 is no class";
            within("model.conditioner.classes", *known, *known, rest)?;
        }
        Needs::Boxes {
            classes: known,
            most,
            ..
        } => {
            within(
                "model.conditioner.tokens.classes",
                *known,
                *known,
                " in a box",
            )?;
            if boxed == 0 {
                return Err(Error::Example {
                    id: source.id(0),
                    problem: "neither it nor any other picture has boxes, which the model's condition is made of".to_owned(),
                });
            }
            told.push(format!("boxes: {boxed} of {good} pictures have some"));
            if crowded.count > 0 {
                told.push(format!(
                    "{} more boxes than {most}, of which the largest are read: {crowded}",
                    pictures_have(crowded.count)
                ));
            }
        }
        Needs::Nothing | Needs::Vectors { .. } => {}
    }
    Ok(told)
}

/// `1 picture has`, `2 pictures have`
fn pictures_have(count: usize) -> String {
    let verb = if count == 1 { "has" } else { "have" };
    format!("{} {verb}", counted(count, "picture"))
}

fn sizes_of(classes: &BTreeMap<u32, (usize, String)>) -> String {
    let counts = classes.values().map(|(count, _)| *count);
    let (least, most) = (counts.clone().min(), counts.max());
    format!(
        "classes: {}, of {} to {} pictures each",
        classes.len(),
        least.unwrap_or_default(),
        most.unwrap_or_default()
    )
}

/// Whether classes have the same numbers in both sets.
///
/// # Errors
/// The first name that has another number.
pub fn same_classes(learnt: &dyn Source, validated: &dyn Source) -> Result<(), Error> {
    let pairs = learnt.classes().iter().zip(validated.classes());
    match pairs.enumerate().find(|(_, (a, b))| a != b) {
        None => Ok(()),
        Some((number, (a, b))) => Err(Error::setting(
            "validation.data",
            format!("class {number} is {b:?}"),
            &format!(
                "{a:?}, as in the data that is learnt from: give both the same list, classes = [\"…\"]"
            ),
        )),
    }
}
