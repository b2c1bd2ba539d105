//! What the CPU can do.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// Instruction sets that kernels are written for, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Nothing beyond the compiler's target.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with AVX-512 BF16 and VNNI.
    Avx512Bf16,
}

impl Level {
    const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
        }
    }

    fn supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2,
                Self::Avx512 => avx512,
                Self::Avx512Bf16 => {
                    avx512
                        && is_x86_feature_detected!("avx512bf16")
                        && is_x86_feature_detected!("avx512vnni")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The instructions that kernels use: a level that this CPU has. It can be had only from
/// [`detect`](Self::detect), [`at`](Self::at) and [`every`](Self::every), which ask the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cpu(Level);

/// What [`Cpu::current`] gives; set once.
static CURRENT: OnceLock<Cpu> = OnceLock::new();

impl Cpu {
    /// What the program computes with: the highest level of this CPU, unless [`choose`](Self::choose)
    /// came first. It never changes, since weights are packed for it.
    pub fn current() -> Self {
        *CURRENT.get_or_init(Self::detect)
    }

    /// Makes every later [`current`](Self::current) give `self`: for a program's start.
    ///
    /// # Errors
    ///
    /// The one in use, where it was asked for or chosen before.
    pub fn choose(self) -> Result<(), Self> {
        CURRENT.set(self).map_err(|_| Self::current())
    }

    /// The highest level of this CPU.
    pub fn detect() -> Self {
        Self::every().last().unwrap_or(Self(Level::Portable))
    }

    /// This level, if the CPU has it.
    pub fn at(level: Level) -> Option<Self> {
        level.supported().then_some(Self(level))
    }

    /// Every level of this CPU, least first.
    pub fn every() -> impl Iterator<Item = Self> {
        Level::ALL.into_iter().filter_map(Self::at)
    }

    /// Which it is.
    pub fn level(self) -> Level {
        self.0
    }
}

/// A level of this CPU by name: `portable`, `avx2`, `avx512`, `avx512-bf16`.
impl FromStr for Cpu {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let level = Level::ALL
            .into_iter()
            .find(|l| l.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::every().map(|c| c.0.name()).collect();
                format!(
                    "`{name}` is no instruction set; this CPU has {}",
                    names.join(", ")
                )
            })?;
        Self::at(level).ok_or_else(|| format!("this CPU does not have {name}"))
    }
}
