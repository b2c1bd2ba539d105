//! Whether trained models obey their conditions, judged by networks that have learnt from real pictures alone.

mod asked;
mod boxes;
mod classes;
mod data;
mod draw;
mod maps;
mod network;
mod pixels;
mod screen;
mod text;

use asked::{Asked, Taught};
use clap::Parser;
use miette::Result;

/// Measures what the examples have trained.
#[derive(Debug, Parser)]
enum Command {
    /// A class-conditional model: reconstruction, and how often a class that is asked for is recognised.
    Classes(classes::Classes),
    /// A model of captions: colour, kind and count of what is drawn.
    Text(Taught),
    /// A model of layouts: what each box shows.
    Layout(Taught),
    /// A model of semantic maps: what each pixel shows.
    SemanticMap(Taught),
    /// A model that enlarges, beside bicubic enlarging.
    Upscale(Asked),
    /// A model that fills holes, beside a flat fill.
    Inpaint(Asked),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Classes(args) => classes::run(&args),
        Command::Text(args) => text::run(&args),
        Command::Layout(args) => boxes::run(&args),
        Command::SemanticMap(args) => maps::run(&args),
        Command::Upscale(args) => pixels::upscale(&args),
        Command::Inpaint(args) => pixels::inpaint(&args),
    }
}
