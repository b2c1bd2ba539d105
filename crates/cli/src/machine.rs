//! What the machine has: devices, threads, free memory.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use burn::tensor::Device;

use crate::failure::{Failure, RUN};

/// Every device this program knows, and whether this build has it.
const DEVICES: &[(&str, bool)] = &[
    ("cpu", true),
    ("vulkan", cfg!(feature = "vulkan")),
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("rocm", cfg!(feature = "rocm")),
];

/// The devices of a list such as `cuda:0,cuda:1`: at least one.
///
/// # Errors
/// As [`device`].
pub fn devices(names: &str) -> Result<Vec<Device>, Failure> {
    names.split(',').map(device).collect()
}

/// The device of that name: `vulkan`, or `vulkan:1` for the second discrete GPU.
///
/// # Errors
/// A name that is none, or a device this build has no code for.
pub fn device(name: &str) -> Result<Device, Failure> {
    let name = name.trim().to_ascii_lowercase();
    let (kind, number) = match name.split_once(':') {
        None => (name.as_str(), None),
        Some((kind, number)) => match number.parse::<usize>() {
            Ok(number) => (kind, Some(number)),
            Err(_) => {
                return Err(Failure::input(format!(
                    "--device {name}: expected a number after the colon, as in cuda:1"
                )));
            }
        },
    };
    #[cfg(any(feature = "cuda", feature = "rocm"))]
    let index = number.map_or_else(Default::default, burn::tensor::DeviceIndex::Specified);
    #[cfg(any(feature = "vulkan", feature = "metal"))]
    let gpu = number.map_or_else(Default::default, burn::tensor::DeviceKind::DiscreteGpu);
    match kind {
        "cpu" if number.is_some() => Err(Failure::input(format!(
            "--device {name}: all CPUs are one device, `cpu`"
        ))),
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => vulkan(gpu),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(gpu)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(index)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(index)),
        other => match DEVICES.iter().find(|(known, _)| *known == other) {
            Some((known, _)) => Err(Failure::input(format!(
                "--device {known}: this build has no {known}; build one that has with \
                 `cargo install --path crates/cli --features {known}`"
            ))),
            None => Err(Failure::input(format!(
                "--device {other} is not known: expected one of {}",
                DEVICES
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        },
    }
}

/// A GPU of Vulkan. Opened here and not at the first tensor, so that a machine without one gets an error.
#[cfg(feature = "vulkan")]
fn vulkan(gpu: burn::tensor::DeviceKind) -> Result<Device, Failure> {
    use burn::tensor::wgpu::WgpuBackend;

    Device::wgpu_options()
        .device_kind(gpu)
        .graphics_api(WgpuBackend::Vulkan)
        .init()
        .map_err(|e| Failure::run(format!("--device vulkan cannot be opened: {e}")))
}

/// Sets the number of threads of everything that computes on the CPU, of which this one is one. Called once, before the first
/// computation.
///
/// # Errors
/// 0, or more than 1024.
pub fn set_threads(threads: Option<usize>) -> Result<(), Failure> {
    // A thread outside the pool would be put to sleep and woken around every operation.
    start(pool(threads)?.use_current_thread())
}

/// The same of threads beside this one, which computes nothing itself.
///
/// # Errors
/// 0, or more than 1024.
pub fn set_threads_beside(threads: Option<usize>) -> Result<(), Failure> {
    start(pool(threads)?)
}

fn pool(threads: Option<usize>) -> Result<rayon::ThreadPoolBuilder, Failure> {
    // sd.cpp writes "all of them" as −1 or 0; here the flag is left out for that.
    if threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
        let given = threads.unwrap_or_default();
        return Err(Failure::input(format!(
            "--threads {given} is out of range: expected 1 to 1024"
        )));
    }
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)))
}

fn start(pool: rayon::ThreadPoolBuilder) -> Result<(), Failure> {
    pool.build_global()
        .map_err(|e| Failure::run(format!("cannot start the threads: {e}")))
}

/// Main memory of the machine, what of it is free, and what this process has, in bytes; 0 where it cannot be told.
pub fn memory() -> latent_serve::Memory {
    let number = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    latent_serve::Memory {
        total: number("/proc/meminfo", "MemTotal:").unwrap_or(0),
        free: free_memory().unwrap_or(0),
        used: number("/proc/self/status", "VmRSS:").unwrap_or(0),
    }
}

/// The most memory that this process has had at once, in bytes, where it can be told (Linux).
pub fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Computes with the instruction set that the variable `LATENT_CPU` names, where it is set: for tests and comparisons.
///
/// # Errors
/// A name that is none, or a set this CPU has not.
pub fn set_instructions() -> Result<(), Failure> {
    let Some(name) = std::env::var_os("LATENT_CPU") else {
        return Ok(());
    };
    let cpu: latent_kernels::Cpu = name
        .to_string_lossy()
        .parse()
        .map_err(|e| Failure::input(format!("LATENT_CPU: {e}")))?;
    cpu.choose()
        .map_err(|_| Failure::run("LATENT_CPU: the instruction set is in use already"))
}

/// How the program says that memory has run out; set while there is some.
static TRAINS: AtomicBool = AtomicBool::new(false);
static JSON: AtomicBool = AtomicBool::new(false);
static ENDING: AtomicBool = AtomicBool::new(false);

/// Says what [`exhausted`] is to say: what helps a run of training, and whether there is a line in JSON.
pub fn prepare_for_exhaustion(trains: bool, json: bool) {
    TRAINS.store(trains, Relaxed);
    JSON.store(json, Relaxed);
    // It has a buffer, which is allocated now.
    let _ = std::io::stdout().flush();
}

/// Ends the program where the system has no memory for `size` bytes, before the standard library would abort it.
/// Allocates nothing.
pub fn exhausted(size: usize) {
    // One thread says it; others that fail too leave it the time for that.
    if ENDING.swap(true, Relaxed) {
        std::thread::sleep(std::time::Duration::from_secs(2));
        std::process::exit(RUN.into());
    }
    let advice = match TRAINS.load(Relaxed) {
        true => {
            "lower batch in the settings and raise accumulation in its place, set precision to bf16 or \
             activation_checkpointing to true"
        }
        false => "make the picture or the batch smaller, use --dtype bf16",
    };
    if JSON.load(Relaxed) {
        let mut stdout = std::io::stdout();
        let _ = writeln!(
            stdout,
            "{{\"event\":\"error\",\"code\":{RUN},\"error\":\"memory_short\",\"message\":\"there is no memory for {size} \
             bytes more: {advice}, or raise the limit (ulimit -v)\"}}"
        );
    }
    let mut stderr = std::io::stderr();
    let _ = writeln!(
        stderr,
        "Error: there is no memory for {size} bytes more: {advice}, or raise the limit (ulimit -v)"
    );
    std::process::exit(RUN.into());
}

/// Bytes of memory that can still be had on this machine, where it can be told: Linux, control groups and the limit of
/// the process (`ulimit -v`) included.
pub fn free_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let meminfo = read("/proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)?;
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(limit, used)| limit.saturating_sub(used));
    let limit = read("/proc/self/limits").and_then(|text| address_space(&text));
    let used =
        read("/proc/self/statm").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    // Counted in pages of 4 KiB at least: larger ones make it a little too hopeful.
    let own = limit
        .zip(used)
        .map(|(limit, pages)| limit.saturating_sub(pages.saturating_mul(4096)));
    [group, own].into_iter().flatten().chain([free]).min()
}

/// The soft limit of the address space in the text of `/proc/self/limits`, in bytes.
fn address_space(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_process_is_read() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max address space         {soft:<20} unlimited            bytes     \n"
            )
        };
        assert_eq!(address_space(&limits("307200000")), Some(307_200_000));
        assert_eq!(address_space(&limits("unlimited")), None);
        assert_eq!(address_space(""), None);
    }

    #[test]
    fn devices_are_known_or_explained() {
        assert!(device("CPU").is_ok());
        assert_eq!(devices("cpu, cpu").unwrap().len(), 2);
        assert!(devices("cpu,").is_err());
        for wrong in ["cpu:0", "cuda:one", "cuda:"] {
            assert!(device(wrong).unwrap_err().message.contains(wrong));
        }
        let unknown = device("tpu").unwrap_err();
        assert!(unknown.message.contains("vulkan"), "{}", unknown.message);
        if !cfg!(feature = "rocm") {
            let missing = device("rocm").unwrap_err();
            assert!(
                missing.message.contains("--features rocm"),
                "{}",
                missing.message
            );
        }
    }

    #[test]
    fn threads_have_a_range() {
        assert!(set_threads(Some(0)).is_err());
        assert!(set_threads(None).is_ok());
    }
}
