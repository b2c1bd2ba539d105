//! Parts of a prompt joined by `AND`, brought to one length.
//!
//! The denoiser sees the parts of one step at once, so that A1111 lengthens the shorter ones by repeating their last vector
//! (`stack_conds` of its `prompt_parser.py`). That is more than padding: attention weighs the repeated vector as often as it is
//! there, so the picture differs from one whose parts keep their length.

use burn::tensor::Tensor;
use latent_models::Conditioned;

use crate::track::{Context, Track};

fn tokens(context: &Context) -> usize {
    context.given.context.as_ref().map_or(0, |c| c.dims()[1])
}

/// `context` with as many tokens as `longest` by repeating the last, in force until `until`.
fn lengthened(context: &Context, longest: usize, until: usize) -> Context {
    let repeat = |states: Tensor<3>| {
        let [batch, have, width] = states.dims();
        if have == 0 || have >= longest {
            return states;
        }
        let last = states.clone().narrow(1, have - 1, 1);
        Tensor::cat(vec![states, last.expand([batch, longest - have, width])], 1)
    };
    Context {
        until,
        given: Conditioned {
            context: context.given.context.clone().map(repeat),
            ..context.given.clone()
        },
    }
}

/// The parts, at every call of one length. A part whose text changes is split where the length of another changes.
pub(crate) fn level(parts: Vec<Track>) -> Vec<Track> {
    let mut lengths = parts.iter().flat_map(|part| &part.contexts).map(tokens);
    let first = lengths.next();
    if lengths.all(|length| Some(length) == first) {
        return parts;
    }
    let mut ends: Vec<usize> = parts
        .iter()
        .flat_map(|part| part.contexts.iter().map(|c| c.until))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    // The context of each part in force up to each of the ends.
    let at = |part: &Track, end: usize| {
        let held = part.contexts.iter().position(|c| end <= c.until);
        held.unwrap_or(part.contexts.len() - 1)
    };
    let longest = |end: usize| {
        let lengths = parts
            .iter()
            .map(|part| tokens(&part.contexts[at(part, end)]));
        lengths.max().unwrap_or(0)
    };
    let spans: Vec<(usize, usize)> = ends.iter().map(|&end| (end, longest(end))).collect();
    let levelled = parts.iter().map(|part| {
        let mut contexts: Vec<Context> = Vec::new();
        let mut last = None;
        for &(end, longest) in &spans {
            let place = at(part, end);
            match contexts.last_mut() {
                Some(context) if last == Some((place, longest)) => context.until = end,
                _ => contexts.push(lengthened(&part.contexts[place], longest, end)),
            }
            last = Some((place, longest));
        }
        Track {
            weight: part.weight,
            contexts,
        }
    });
    levelled.collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Contexts of so many tokens, numbered from `start`, until those calls.
    fn track(start: f32, contexts: &[(usize, usize)]) -> Track {
        let context = |(i, &(until, tokens)): (usize, &(usize, usize))| {
            let values: Vec<f32> = (0..tokens)
                .map(|t| start + i as f32 + t as f32 / 10.0)
                .collect();
            let states = TensorData::new(values, [1, tokens, 1]);
            Context {
                until,
                given: Conditioned {
                    context: Some(Tensor::from_data(states, &Device::flex())),
                    ..Conditioned::default()
                },
            }
        };
        Track {
            weight: 0.5,
            contexts: contexts.iter().enumerate().map(context).collect(),
        }
    }

    fn values(track: &Track) -> Vec<(usize, Vec<f32>)> {
        let of = |c: &Context| {
            let states = c.given.context.clone().expect("text states").into_data();
            (c.until, states.iter::<f32>().collect())
        };
        track.contexts.iter().map(of).collect()
    }

    #[test]
    fn the_shorter_part_repeats_its_last_vector() {
        let parts = level(vec![
            track(1.0, &[(usize::MAX, 1)]),
            track(5.0, &[(usize::MAX, 3)]),
        ]);
        assert_eq!(values(&parts[0]), [(usize::MAX, vec![1.0; 3])]);
        assert_eq!(values(&parts[1]), [(usize::MAX, vec![5.0, 5.1, 5.2])]);
        assert_eq!(parts[0].weight, 0.5);
    }

    /// One part changes at call 4, the other at 2 and 6: what is in force together has one length.
    #[test]
    fn lengths_follow_the_steps() {
        let parts = level(vec![
            track(1.0, &[(4, 2), (8, 1)]),
            track(5.0, &[(2, 1), (6, 3), (8, 1)]),
        ]);
        let own = vec![1.0, 1.1];
        let first = [
            (2, own.clone()),
            (4, [own, vec![1.1]].concat()),
            (6, vec![2.0; 3]),
            (8, vec![2.0]),
        ];
        assert_eq!(values(&parts[0]), first);
        let second = [(2, vec![5.0; 2]), (6, vec![6.0, 6.1, 6.2]), (8, vec![7.0])];
        assert_eq!(values(&parts[1]), second);
    }
}
