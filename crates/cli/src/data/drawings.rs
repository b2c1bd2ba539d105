//! `latent data build default` and `latent data build icons`.

use std::path::Path;

use latent_data::{
    Error,
    build::{self, DefaultOptions, HOUSE, Made, Notice, Things},
    compose::{Art, Framing, Ground, Manner},
    counted, printable,
};
use serde_json::json;

use super::{LINES, fetcher};
use crate::{
    args::data::{self, DefaultArgs, IconsArgs},
    failure::{Failure, OK},
    machine, screen,
};

/// Most pictures of a drawing with --styles: its own colours, seven others, a silhouette and grey.
const MOST_STYLED: u64 = 10;

pub(super) fn default_set(args: &DefaultArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    if let Some(variants) = args.variants.filter(|n| args.styles && *n > MOST_STYLED) {
        return Err(Failure::input(format!(
            "--variants {variants}: with --styles a drawing has at most {MOST_STYLED}"
        )));
    }
    free(&args.target)?;
    let things = args.things.as_ref().map(super::things).transpose()?;
    let note = screen::spinner("fetching and reading drawings");
    let fetcher = fetcher(args.cache.as_deref())?;
    let (mut art, notices) = build::collection(&fetcher, &mut |set| {
        note.set_message(format!("fetching and reading drawings: {set}"));
    })?;
    note.finish_and_clear();
    let mut left_out = 0;
    if let Some(things) = &things {
        things.name(&mut art.drawings);
        left_out = things.leave_out(&mut art.drawings);
    }
    let house = HOUSE.iter().filter(|_| args.styles);
    let options = DefaultOptions {
        size: args.size,
        variants: args.variants.unwrap_or(if args.styles { 6 } else { 2 }),
        scenes: args
            .scenes
            .unwrap_or(if things.is_some() { 0 } else { 24_000 }),
        seed: args.seed,
        manner: Manner {
            framing: framing(args.fit),
            ground: ground(args.ground),
            oriented: args.orient,
            styled: args.styles,
            house: house.map(|style| (*style).to_owned()).collect(),
        },
        things,
    };
    let made = draw(art, &notices, &options, &args.target)?;
    let mut notes = Vec::new();
    if left_out > 0 {
        notes.push(format!(
            "{} of letters, times, marks and the like left out",
            counted(left_out, "drawing")
        ));
    }
    tell(&args.target, &made, notes, json);
    Ok(OK)
}

pub(super) fn icons(args: &IconsArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    free(&args.target)?;
    let list = args.things.as_deref().map(Things::read).transpose()?;
    let note = screen::spinner("reading drawings");
    let mut icons = build::icons(&args.from, &args.style)?;
    note.finish_and_clear();
    let house = icons.house().into_iter().collect();
    let things = match list {
        Some(list) => {
            list.name(&mut icons.art.drawings);
            list
        }
        None => Things::of(&icons.art.drawings),
    };
    let options = DefaultOptions {
        size: args.size,
        variants: args.variants,
        scenes: 0,
        seed: args.seed,
        manner: Manner {
            framing: framing(args.fit),
            ground: ground(args.ground),
            oriented: !args.no_orient,
            styled: true,
            house,
        },
        things: Some(things),
    };
    let notices = [Notice::Folder(args.from.display().to_string())];
    let made = draw(icons.art, &notices, &options, &args.target)?;
    tell(&args.target, &made, icons.notes, json);
    Ok(OK)
}

/// Refuses a target that exists before anything is fetched or read.
fn free(target: &Path) -> Result<(), Failure> {
    match target.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) => Err(Failure::from(Error::Exists {
            path: target.to_owned(),
        })),
    }
}

fn framing(fit: data::Fit) -> Framing {
    match fit {
        data::Fit::None => Framing::Loose,
        data::Fit::Box => Framing::Fitted,
    }
}

fn ground(ground: data::Ground) -> Ground {
    match ground {
        data::Ground::White => Ground::White,
        data::Ground::Plain => Ground::Plain,
        data::Ground::Any => Ground::Any,
    }
}

fn draw(
    art: Art,
    notices: &[Notice],
    options: &DefaultOptions,
    target: &Path,
) -> Result<Made, Failure> {
    let bar = screen::bar();
    bar.set_prefix("drawing");
    let made = build::default_set(art, notices, options, target, &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    Ok(made)
}

fn tell(target: &Path, made: &Made, notes: Vec<String>, json: bool) {
    let Made {
        drawings,
        train,
        test,
        scenes,
        unseen,
        missing,
    } = made;
    if json {
        println!(
            "{}",
            json!({
                "event": "done", "path": target, "drawings": drawings, "train": train, "test": test, "scenes": scenes,
                "unseen": unseen, "missing": missing, "notes": notes,
            })
        );
        return;
    }
    println!(
        "{}: {drawings} drawings; {train} pictures to learn from, {test} held out",
        target.display()
    );
    if *scenes > 0 {
        println!("  {} in folders of their own", counted(*scenes, "scene"));
    }
    for note in notes {
        println!("  note: {note}");
    }
    for (names, what) in [
        (
            unseen,
            "of no picture, for want of a background that shows it",
        ),
        (missing, "on the list and drawn by none"),
    ] {
        let first: Vec<String> = names
            .iter()
            .take(LINES)
            .map(|name| printable(name))
            .collect();
        if !first.is_empty() {
            let more = match names.len().saturating_sub(LINES) {
                0 => String::new(),
                more => format!(" and {more} more (--json lists them all)"),
            };
            println!("  {} {what}: {}{more}", names.len(), first.join("; "));
        }
    }
}
