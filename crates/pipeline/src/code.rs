//! A stable name for every error, for programs: services answer with it, clients branch on it. Texts may change, these may not.

use latent_checkpoint::ModelError;
use latent_diffusion::names::NameError;
use latent_text::PromptError;

use crate::error::Error;
use crate::picture::files::PictureError;
use crate::request::RequestError;
use crate::resources::ResourceError;

/// An error that has a stable name.
pub trait Code {
    /// The name, in `snake_case`; `docs/errors.md` lists all of them.
    fn code(&self) -> &'static str;
}

impl Code for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Field { .. } | Self::Part { .. } => "field_unusable",
            Self::Model { .. } => "model_unusable",
            Self::Memory { .. } => "memory_short",
            Self::NotFinite { .. } => "result_not_finite",
            Self::Prompt { source, .. } => source.code(),
            Self::Checkpoint(e) => e.code(),
            Self::Diffusion(e) => e.code(),
            Self::Name(e) | Self::Scheduler { source: e } => e.code(),
            Self::Picture(e) => e.code(),
            Self::Request(e) => e.code(),
            Self::Resource(e) | Self::Given { source: e, .. } => e.code(),
            Self::SecondPass { source } => source.code(),
            Self::Embedding { .. } => "embedding_unusable",
            Self::Library(_) => "library_unreadable",
            Self::NoSettings { .. } => "settings_missing",
            Self::OtherModel { .. } => "model_of_picture_missing",
            Self::Dropped => "job_dropped",
        }
    }
}

impl Code for RequestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Range { .. } => "field_out_of_range",
            Self::Choice { .. } => "field_unknown_choice",
            Self::UnknownField { .. } => "field_unknown",
            Self::Field { .. } => "field_wrong_type",
            Self::Needs { .. } => "field_needs_another",
            Self::Syntax { .. } => "request_syntax",
            Self::NotText => "file_not_text",
        }
    }
}

impl Code for ResourceError {
    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "resource_missing",
            Self::Folder { .. } => "resource_is_folder",
            Self::Unknown { .. } => "resource_unknown",
            Self::Model { .. } => "model_unknown",
            Self::Ambiguous { .. } => "model_ambiguous",
            Self::NoModel => "model_not_named",
            Self::Picture(e) => e.code(),
        }
    }
}

/// Of a file that was to be written.
fn of_output(exists: bool) -> &'static str {
    match exists {
        true => "output_exists",
        false => "output_unwritable",
    }
}

impl Code for PictureError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "picture_unreadable",
            Self::Unknown { .. } => "picture_unknown_format",
            Self::Damaged { .. } => "picture_damaged",
            Self::TooLarge { .. } => "picture_too_large",
            Self::Exists { .. } => of_output(true),
            Self::Write { .. } => of_output(false),
            Self::Extension { .. } => "output_unknown_format",
            Self::TooMuchText { .. } => "metadata_too_long",
            Self::Encode { .. } => "picture_not_encoded",
        }
    }
}

impl Code for ModelError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "checkpoint_not_finite",
            Self::Overflow { .. } => "checkpoint_overflow",
            Self::File(error) if error.is_of_output() => {
                of_output(matches!(error, latent_checkpoint::Error::Exists { .. }))
            }
            _ => "checkpoint_unusable",
        }
    }
}

impl Code for latent_diffusion::Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network_failed",
            Self::NoUnconditional { .. } => "sampler_needs_guidance",
            Self::Ladder { .. } => "ladder_unusable",
            Self::Setting { .. } => "setting_out_of_range",
        }
    }
}

impl Code for NameError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "name_unknown",
            Self::Elsewhere { .. } => "name_not_implemented",
            Self::Flag { .. } => "scheduler_not_implemented",
        }
    }
}

impl Code for PromptError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "prompt_too_long",
            Self::TooDeep { .. } => "prompt_too_deep",
            Self::Weight { .. } => "prompt_bad_weight",
            Self::WeightRange { .. } => "prompt_weight_out_of_range",
            Self::Steps { .. } => "prompt_too_many_steps",
            Self::TooManyVectors { .. } => "prompt_too_many_vectors",
            Self::ScheduleTooLarge { .. } => "prompt_schedule_too_large",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The names of the program itself, in `crates/cli/src/failure.rs`.
    const OF_THE_PROGRAM: [&str; 5] = [
        "invalid_input",
        "run_failed",
        "output_failed",
        "output_closed",
        "defect",
    ];

    #[test]
    fn docs_list_every_name_once() {
        let source = include_str!("code.rs");
        let arms = source.lines().filter_map(|line| line.split_once("=> \""));
        let names = arms.map(|(_, name)| name.trim_end_matches("\","));
        let names: Vec<&str> = names.chain(OF_THE_PROGRAM).collect();
        let docs = include_str!("../../../docs/errors.md");
        let listed = docs
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<&str> = listed.map(|(name, _)| name).collect();
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(set(&names), set(&listed));
        assert_eq!(
            (names.len(), listed.len()),
            (set(&names).len(), set(&listed).len())
        );
        assert!(names.len() > 30);
        let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(names.iter().all(plain), "{names:?}");
    }
}
