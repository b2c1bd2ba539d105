//! What is wrong with a graph, in ComfyUI's words.

use serde_json::{Value, json};

use super::graph::Node;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No graph.
    NoPrompt,
    /// Nothing is given out.
    NoOutputs,
    /// No graph that could be.
    Invalid,
    /// A node of no known class.
    UnknownNode,
    /// An input that must be there.
    Missing,
    /// A link to nothing.
    BadLink,
    /// A link to an output of another kind.
    Mismatch,
    /// A value of another kind.
    WrongType,
    /// A number that is too small.
    OutOfRange,
    /// A word that is none of those.
    NotInList,
    /// What no request of latent says.
    Unusable,
}

impl Reason {
    /// ComfyUI's word and sentence.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::NoPrompt => ("no_prompt", "No prompt provided"),
            Self::NoOutputs => ("prompt_no_outputs", "Prompt has no outputs"),
            Self::Invalid => ("invalid_prompt", "Invalid prompt"),
            Self::UnknownNode => ("missing_node_type", "Node not found"),
            Self::Missing => ("required_input_missing", "Required input is missing"),
            Self::BadLink => ("bad_linked_input", "Bad linked input"),
            Self::Mismatch => (
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
            ),
            Self::WrongType => ("invalid_input_type", "Failed to convert an input value"),
            Self::OutOfRange => ("value_smaller_than_min", "Value smaller than min"),
            Self::NotInList => ("value_not_in_list", "Value not in list"),
            Self::Unusable => (
                "custom_validation_failed",
                "Custom validation failed for node",
            ),
        }
    }
}

/// A graph that is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: Reason,
    details: String,
    /// Its id, class, title and input.
    node: Option<[String; 4]>,
}

impl Refusal {
    /// Of the whole graph.
    pub fn whole(reason: Reason, details: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason,
            details: details.into(),
            node: None,
        })
    }

    /// Of an input of a node.
    pub fn of(node: &Node, input: &str, reason: Reason, details: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason,
            details: details.into(),
            node: Some([
                node.id.clone(),
                node.class.name.to_owned(),
                String::new(),
                input.to_owned(),
            ]),
        })
    }

    /// Of a node whose class is not known.
    pub fn unknown(id: &str, class: &str, node: &Value) -> Box<Self> {
        let title = node["_meta"]["title"].as_str().unwrap_or(class);
        let told = format!(
            "Node ID '#{id}' is {class:?}, which is not translated: GET /object_info lists what is"
        );
        Box::new(Self {
            reason: Reason::UnknownNode,
            details: told,
            node: Some([id, class, title, ""].map(str::to_owned)),
        })
    }

    /// The body of the answer. `outputs` are the nodes that cannot be given out for it.
    pub fn body(&self, outputs: &[String]) -> Value {
        let (kind, message) = self.reason.told();
        let own = |extra: Value| json!({ "type": kind, "message": message, "details": self.details, "extra_info": extra });
        let Some([id, class, title, input]) = &self.node else {
            return json!({ "error": own(json!({})), "node_errors": {} });
        };
        let unknown = self.reason == Reason::UnknownNode;
        let extra = match unknown {
            true => json!({ "node_id": id, "class_type": class, "node_title": title }),
            false => json!({ "input_name": input }),
        };
        let of_node = json!({ "errors": [own(extra.clone())], "dependent_outputs": outputs, "class_type": class });
        let whole = match unknown {
            true => own(extra),
            false => json!({
                "type": "prompt_outputs_failed_validation",
                "message": "Prompt outputs failed validation",
                "details": format!("{class} {id}: {}", self.details),
                "extra_info": {},
            }),
        };
        json!({ "error": whole, "node_errors": { id: of_node } })
    }
}
