//! T2I-Adapters of style: what one makes of a picture are tokens, made once for the whole job, that stand behind the prompt's
//! in a part of a run. All that reads the prompt there sees them, ControlNets too.

use burn::tensor::Tensor;

use super::{Held, When};
use crate::error::Result;
use crate::guiders::{At, Prompt};
use crate::model::{ControlNetwork, Model};

/// Tokens of a picture, `[1, tokens, width]`.
#[derive(Debug, Clone)]
pub struct Style {
    /// The entry of [`Request::control`](crate::Request::control) that it is of.
    pub entry: usize,
    tokens: Tensor<3>,
    /// Those of another picture for the second pass.
    second: Option<Tensor<3>>,
}

impl Style {
    /// Of the pictures of a request that such adapters read.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn all(model: &Model, held: &[Held]) -> Result<Vec<Self>> {
        let held = held.iter().enumerate();
        let styles = held.filter_map(|(entry, held)| match &model.control(entry)?.network {
            ControlNetwork::Style(style) => Some((entry, held, style)),
            _ => None,
        });
        let styles = styles.map(|(entry, held, style)| {
            let second = held.second.as_ref();
            Ok(Self {
                entry,
                tokens: style.tokens(&held.picture)?,
                second: second.map(|picture| style.tokens(picture)).transpose()?,
            })
        });
        styles.collect()
    }

    /// Those of a pass.
    pub fn tokens(&self, second: bool) -> Tensor<3> {
        let tokens = self.second.as_ref().filter(|_| second);
        tokens.unwrap_or(&self.tokens).clone()
    }
}

/// Tokens that stand behind the prompt's in a part of a run.
#[derive(Debug, Clone)]
pub struct Styled {
    tokens: Tensor<3>,
    when: When,
    zeros: bool,
}

impl Styled {
    /// `zeros`: as many zeros stand behind the negative prompt's.
    pub fn new(tokens: Tensor<3>, when: When, zeros: bool) -> Self {
        Self {
            tokens: tokens * when.weight,
            when,
            zeros,
        }
    }

    /// Whether they are there in a call.
    pub fn acts(&self, at: &At) -> bool {
        self.when.acts(at)
    }

    /// What stands behind the tokens of a prompt.
    pub fn behind(&self, prompt: Prompt) -> Option<Tensor<3>> {
        match prompt {
            Prompt::Positive(_) => Some(self.tokens.clone()),
            Prompt::Negative | Prompt::Empty => self.zeros.then(|| self.tokens.zeros_like()),
        }
    }
}
