//! What is kept of a graph beside the request that it became: what its client must be told later.

use latent_queue::{Job, Picture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chain::{Drawing, From};
use super::graph::Node;
use crate::submit::Order;

/// The interface's name in the queue.
pub const FRONT: &str = "comfyui";

/// What is kept of a graph.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The graph as it was sent.
    pub graph: Value,
    /// Who listens.
    pub client: String,
    /// The id that the client chose.
    pub id: Option<String>,
    /// Whether previews are wanted.
    pub preview: bool,
    /// Samplers, in their order, and the steps that each takes.
    pub samplers: Vec<(String, u32)>,
    /// The node that decodes.
    pub decoder: String,
    /// Nodes that give pictures out, and their classes.
    pub outputs: Vec<(String, String)>,
}

impl Record {
    /// Of a graph that is drawn.
    pub fn new(graph: Value, drawing: &Drawing<'_>, outputs: &[&Node]) -> Self {
        let last = &drawing.pass;
        let steps = |steps: u64| u32::try_from(steps).unwrap_or(u32::MAX);
        let mut samplers = vec![(last.node.id.clone(), steps(last.steps))];
        if let From::Pass(first, _) = &last.from {
            samplers.insert(0, (first.node.id.clone(), steps(first.steps)));
        }
        let outputs = outputs.iter();
        Self {
            graph,
            samplers,
            decoder: drawing.decoder.id.clone(),
            outputs: outputs
                .map(|node| (node.id.clone(), node.class.name.to_owned()))
                .collect(),
            ..Self::default()
        }
    }

    /// Of a job that came by this interface.
    pub fn of(job: &Job) -> Option<Self> {
        let order = Order::of(job).ok().filter(|order| order.front == FRONT)?;
        serde_json::from_value(order.echo).ok()
    }

    /// The id by which the client knows the job.
    pub fn id(&self, job: &Job) -> String {
        self.id.clone().unwrap_or_else(|| job.id.to_string())
    }

    /// The ids of the nodes that give pictures out.
    pub fn output_ids(&self) -> Vec<&str> {
        self.outputs.iter().map(|(id, _)| id.as_str()).collect()
    }

    /// As it stands in lists: number, id, graph, who sent it, outputs.
    pub fn item(&self, job: &Job) -> Value {
        let extra = json!({ "client_id": self.client, "create_time": job.created_ms });
        json!([
            job.created_ms,
            self.id(job),
            self.graph,
            extra,
            self.output_ids()
        ])
    }

    /// The node that is at work: at that stage, after so many steps; and the step and steps of it.
    pub fn at(&self, stage: &str, step: u32) -> (&str, u32, u32) {
        if stage == "decoding" {
            return (&self.decoder, 0, 1);
        }
        let mut done = step;
        let last = self.samplers.len().saturating_sub(1);
        for (at, (id, steps)) in self.samplers.iter().enumerate() {
            if done <= *steps || at == last {
                return (id, done.min(*steps), *steps);
            }
            done -= steps;
        }
        (&self.decoder, 0, 1)
    }
}

/// What a node gave out: pictures by the names that `/view` takes.
pub fn output(class: &str, pictures: &[Picture]) -> Value {
    let kind = if class == "PreviewImage" {
        "temp"
    } else {
        "output"
    };
    let images = pictures.iter().map(|picture| {
        let name = format!("{}.{}", picture.id, picture.format.extension());
        json!({ "filename": name, "subfolder": "", "type": kind })
    });
    json!({ "images": images.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_belong_to_their_sampler() {
        let record = Record {
            samplers: vec![("3".into(), 20), ("7".into(), 10)],
            decoder: "8".into(),
            ..Record::default()
        };
        assert_eq!(record.at("sampling", 5), ("3", 5, 20));
        assert_eq!(record.at("sampling", 20), ("3", 20, 20));
        assert_eq!(record.at("sampling", 21), ("7", 1, 10));
        assert_eq!(record.at("sampling", 40), ("7", 10, 10));
        assert_eq!(record.at("decoding", 30), ("8", 0, 1));
    }
}
