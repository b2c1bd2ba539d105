//! What the machine has: devices, threads, free memory.

use burn::tensor::Device;

use crate::failure::Failure;

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

/// Sets the number of threads of everything that computes on the CPU. Called once, before the first computation.
///
/// # Errors
/// 0, or more than 1024.
pub fn set_threads(threads: Option<usize>) -> Result<(), Failure> {
    // sd.cpp writes "all of them" as −1 or 0; here the flag is left out for that.
    if threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
        let given = threads.unwrap_or_default();
        return Err(Failure::input(format!(
            "--threads {given} is out of range: expected 1 to 1024"
        )));
    }
    // A thread outside the pool would be put to sleep and woken around every operation.
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .use_current_thread()
        .build_global()
        .map_err(|e| Failure::run(format!("cannot start the threads: {e}")))
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

/// Bytes of memory that can still be had on this machine, where it can be told: Linux, control groups included.
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
    Some(group.map_or(free, |group| group.min(free)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
