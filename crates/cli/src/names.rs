//! `latent samplers`, `latent completions`, `latent man`.

use std::path::Path;

use clap::CommandFactory;
use latent_diffusion::names::{sampler_info, samplers, scheduler_info, schedulers};
use serde_json::json;

use crate::{
    args::Cli,
    failure::{Failure, OK},
};

/// Prints every name of every sampler and scheduler.
pub fn list(json: bool) -> u8 {
    if json {
        let samplers: Vec<_> = samplers()
            .iter()
            .map(|s| {
                json!({"label": s.label, "name": s.name, "aliases": s.aliases,
                       "scheduler": scheduler_info(s.scheduler).label})
            })
            .collect();
        let schedulers: Vec<_> = schedulers()
            .iter()
            .map(|s| json!({"label": s.label, "name": s.name, "aliases": s.aliases}))
            .collect();
        println!(
            "{}",
            json!({"samplers": samplers, "schedulers": schedulers})
        );
        return OK;
    }
    let row = |label: &str, name: &str, aliases: &[&str]| {
        println!("  {label:<20} {name:<26} {}", aliases.join(", "));
    };
    println!(
        "Samplers (any of these names, in any case; a scheduler's name may follow: \"DPM++ 2M Karras\")"
    );
    for info in samplers() {
        row(info.label, sampler_info(info.sampler).name, info.aliases);
    }
    println!("\nSchedulers");
    for info in schedulers() {
        row(info.label, info.name, info.aliases);
    }
    OK
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "latent", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    OK
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// A folder that cannot be written to.
pub fn man(folder: Option<&Path>) -> Result<u8, Failure> {
    let command = Cli::command();
    let mut page = Vec::new();
    let written = match folder {
        None => clap_mangen::Man::new(command).render(&mut page),
        Some(folder) => {
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder))
        }
    };
    written.map_err(|e| Failure::run(format!("cannot write the manual: {e}")))?;
    print!("{}", String::from_utf8_lossy(&page));
    Ok(OK)
}
