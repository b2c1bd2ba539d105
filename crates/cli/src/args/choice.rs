//! clap's parser for the short lists of a request.

use std::{ffi::OsStr, marker::PhantomData};

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, TypedValueParser},
    error::ErrorKind,
};
use latent_pipeline::request::Choice;

/// Reads any name of `T`, shows one for each value.
#[derive(Debug)]
pub struct ChoiceParser<T>(PhantomData<T>);

impl<T> ChoiceParser<T> {
    /// The parser.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for ChoiceParser<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Choice + Send + Sync> TypedValueParser for ChoiceParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        T::read(&value.to_string_lossy()).map_err(|error| {
            let flag = arg.map(|arg| format!("{arg}: ")).unwrap_or_default();
            Error::raw(ErrorKind::InvalidValue, format!("{flag}{error}\n")).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let written = T::NAMES
            .iter()
            .filter(|(name, value)| value.name() == *name);
        Some(Box::new(written.map(|(name, _)| PossibleValue::new(*name))))
    }
}
