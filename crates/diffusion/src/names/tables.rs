//! The tables behind [`super`].

use crate::{Sampler as S, Scheduler as L};

use super::{Elsewhere, SamplerInfo, SchedulerInfo};

const fn row(
    sampler: S,
    label: &'static str,
    name: &'static str,
    scheduler: L,
    aliases: &'static [&'static str],
) -> SamplerInfo {
    SamplerInfo {
        sampler,
        label,
        name,
        aliases,
        scheduler,
        discard_penultimate: matches!(sampler, S::Dpm2 | S::Dpm2Ancestral | S::Dpmpp3mSde),
    }
}

#[rustfmt::skip]
pub(super) const SAMPLERS: &[SamplerInfo] = &[
    row(S::Euler, "Euler", "euler", L::Uniform, &["flow_euler", "flowmatch_euler"]),
    row(S::EulerAncestral, "Euler a", "euler_ancestral", L::Uniform, &["euler_a"]),
    row(S::Heun, "Heun", "heun", L::Uniform, &["flow_heun", "flowmatch_heun"]),
    row(S::Dpm2, "DPM2", "dpm_2", L::Karras, &["kdpm_2"]),
    row(S::Dpm2Ancestral, "DPM2 a", "dpm_2_ancestral", L::Karras, &["dpm_2_a", "kdpm_2_a"]),
    row(S::Lms, "LMS", "lms", L::Uniform, &[]),
    row(S::DpmFast, "DPM fast", "dpm_fast", L::Uniform, &[]),
    row(S::DpmAdaptive, "DPM adaptive", "dpm_adaptive", L::Uniform, &["dpm_ad"]),
    row(S::Dpmpp2sAncestral, "DPM++ 2S a", "dpmpp_2s_ancestral", L::Karras, &["dpmpp_2s_a", "dpm++2s_a"]),
    row(S::DpmppSde, "DPM++ SDE", "dpmpp_sde", L::Karras, &["dpmpp_sde_gpu"]),
    row(S::Dpmpp2m, "DPM++ 2M", "dpmpp_2m", L::Karras, &["dpm++2m", "dpmsolver++"]),
    row(S::Dpmpp2mSde, "DPM++ 2M SDE", "dpmpp_2m_sde", L::Exponential,
        &["dpmpp_2m_sde_gpu", "dpm++2m_sde", "dpm++2m_sde_bt"]),
    row(S::Dpmpp2mSdeHeun, "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", L::Exponential, &["dpmpp_2m_sde_heun_gpu"]),
    row(S::Dpmpp3mSde, "DPM++ 3M SDE", "dpmpp_3m_sde", L::Exponential, &["dpmpp_3m_sde_gpu"]),
    row(S::Ddim, "DDIM", "ddim", L::DdimUniform, &["ddim_trailing"]),
    row(S::Ddpm, "DDPM", "ddpm", L::Uniform, &[]),
    row(S::Plms, "PLMS", "plms", L::DdimUniform, &["pndm"]),
    row(S::UniPcBh1, "UniPC", "uni_pc", L::Uniform, &["unipc", "unipc_bh1"]),
    row(S::UniPcBh2, "UniPC bh2", "uni_pc_bh2", L::Uniform, &["unipc_bh2"]),
    row(S::Deis, "DEIS", "deis", L::Uniform, &[]),
    row(S::Ipndm, "IPNDM", "ipndm", L::Uniform, &[]),
    row(S::Restart, "Restart", "restart", L::Karras, &[]),
    row(S::Lcm, "LCM", "lcm", L::SgmUniform, &[]),
    row(S::Tcd, "TCD", "tcd", L::SgmUniform, &[]),
    row(S::EulerCfgPp, "Euler CFG++", "euler_cfg_pp", L::Uniform, &["euler_cfgpp"]),
    row(S::EulerAncestralCfgPp, "Euler a CFG++", "euler_ancestral_cfg_pp", L::Uniform,
        &["euler_a_cfg_pp", "euler_a_cfgpp"]),
    row(S::DdimCfgPp, "DDIM CFG++", "ddim_cfg_pp", L::DdimUniform, &["ddim_cfgpp"]),
];

const fn ladder(
    scheduler: L,
    label: &'static str,
    name: &'static str,
    aliases: &'static [&'static str],
) -> SchedulerInfo {
    SchedulerInfo {
        scheduler,
        label,
        name,
        aliases,
    }
}

#[rustfmt::skip]
pub(super) const SCHEDULERS: &[SchedulerInfo] = &[
    ladder(L::Automatic, "Automatic", "automatic", &["auto"]),
    ladder(L::Uniform, "Uniform", "uniform", &["discrete"]),
    ladder(L::Normal, "Normal", "normal", &[]),
    ladder(L::Karras, "Karras", "karras", &[]),
    ladder(L::Exponential, "Exponential", "exponential", &[]),
    ladder(L::Polyexponential, "Polyexponential", "polyexponential", &[]),
    ladder(L::SgmUniform, "SGM Uniform", "sgm_uniform", &["sgmuniform"]),
    ladder(L::Simple, "Simple", "simple", &[]),
    ladder(L::DdimUniform, "DDIM", "ddim_uniform", &["ddim"]),
    ladder(L::Beta, "Beta", "beta", &[]),
    ladder(L::KlOptimal, "KL Optimal", "kl_optimal", &["kloptimal"]),
    ladder(L::AlignYourSteps, "Align Your Steps", "align_your_steps", &["ays", "alignyoursteps"]),
    ladder(L::LinearQuadratic, "Linear Quadratic", "linear_quadratic", &["linearquadratic"]),
];

#[rustfmt::skip]
pub(super) const CLASSES: &[&str] = &[
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler", "DPMSolverMultistepScheduler",
    "DEISMultistepScheduler", "UniPCMultistepScheduler", "IPNDMScheduler", "LCMScheduler", "TCDScheduler",
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
];

/// Known elsewhere, not here.
#[rustfmt::skip]
pub(super) const ELSEWHERE_SAMPLERS: &[Elsewhere] = &[
    ("heunpp2", "ComfyUI", &["heun"]),
    ("dpmpp_2s_ancestral_cfg_pp", "ComfyUI", &["dpmpp_2s_ancestral", "euler_ancestral_cfg_pp"]),
    ("dpmpp_2m_cfg_pp", "ComfyUI", &["dpmpp_2m", "euler_cfg_pp"]),
    ("ipndm_v", "ComfyUI", &["ipndm"]),
    ("res_multistep", "ComfyUI", &["dpmpp_2m"]),
    ("res_multistep_cfg_pp", "ComfyUI", &["dpmpp_2m", "euler_cfg_pp"]),
    ("res_multistep_ancestral", "ComfyUI", &["dpmpp_2m_sde"]),
    ("res_multistep_ancestral_cfg_pp", "ComfyUI", &["dpmpp_2m_sde", "euler_ancestral_cfg_pp"]),
    ("gradient_estimation", "ComfyUI", &["euler"]),
    ("gradient_estimation_cfg_pp", "ComfyUI", &["euler_cfg_pp"]),
    ("er_sde", "ComfyUI", &["dpmpp_3m_sde"]),
    ("seeds_2", "ComfyUI", &["dpmpp_sde"]),
    ("seeds_3", "ComfyUI", &["dpmpp_sde"]),
    ("sa_solver", "ComfyUI", &["dpmpp_3m_sde"]),
    ("sa_solver_pece", "ComfyUI", &["dpmpp_3m_sde"]),
    ("exp_heun_2_x0", "ComfyUI", &["heun"]),
    ("exp_heun_2_x0_sde", "ComfyUI", &["dpmpp_2m_sde_heun"]),
    ("ddpm_parallel", "diffusers", &["ddpm"]),
    ("dpm++2mv2", "stable-diffusion.cpp", &["dpmpp_2m"]),
    ("res_2s", "stable-diffusion.cpp", &["dpmpp_sde"]),
    ("euler_ge", "stable-diffusion.cpp", &["euler"]),
    ("dpmpp_2s", "InvokeAI", &["dpmpp_2s_ancestral", "dpm_2"]),
    ("dpmpp_3m", "InvokeAI", &["dpmpp_3m_sde", "dpmpp_2m"]),
    ("dpmsolver", "kohya", &["dpmpp_2m"]),
    ("dpmsingle", "kohya", &["dpmpp_2s_ancestral"]),
    ("DPMSolverSinglestepScheduler", "diffusers", &["DPMSolverMultistepScheduler"]),
    ("CosineDPMSolverMultistepScheduler", "diffusers", &["DPMSolverMultistepScheduler"]),
    ("SASolverScheduler", "diffusers", &["DPMSolverMultistepScheduler"]),
    ("DDIMInverseScheduler", "diffusers", &["DDIMScheduler"]),
    ("DPMSolverMultistepInverseScheduler", "diffusers", &["DPMSolverMultistepScheduler"]),
    ("RePaintScheduler", "diffusers", &["DDIMScheduler"]),
    ("UnCLIPScheduler", "diffusers", &["DDPMScheduler"]),
    ("VQDiffusionScheduler", "diffusers", &["DDPMScheduler"]),
    ("KarrasVeScheduler", "diffusers", &["HeunDiscreteScheduler"]),
    ("ScoreSdeVeScheduler", "diffusers", &["EulerAncestralDiscreteScheduler"]),
    ("ScoreSdeVpScheduler", "diffusers", &["DDPMScheduler"]),
    ("CMStochasticIterativeScheduler", "diffusers", &["LCMScheduler"]),
    ("FlowMatchLCMScheduler", "diffusers", &["FlowMatchEulerDiscreteScheduler"]),
    ("AmusedScheduler", "diffusers", &["DDPMScheduler"]),
];

/// Known elsewhere, not here.
#[rustfmt::skip]
pub(super) const ELSEWHERE_SCHEDULERS: &[Elsewhere] = &[
    ("turbo", "Forge", &["sgm_uniform"]),
    ("align_your_steps_gits", "Forge", &["align_your_steps"]),
    ("align_your_steps_11", "Forge", &["align_your_steps"]),
    ("align_your_steps_32", "Forge", &["align_your_steps"]),
    ("gits", "stable-diffusion.cpp", &["align_your_steps"]),
    ("smoothstep", "stable-diffusion.cpp", &["beta"]),
    ("lcm", "stable-diffusion.cpp", &["sgm_uniform"]),
    ("bong_tangent", "stable-diffusion.cpp", &["kl_optimal"]),
    ("ltx2", "stable-diffusion.cpp", &["simple"]),
    ("logit_normal", "stable-diffusion.cpp", &["beta"]),
    ("flux", "stable-diffusion.cpp", &["simple"]),
    ("flux2", "stable-diffusion.cpp", &["simple"]),
    ("vp", "k-diffusion", &["exponential"]),
    ("karras_exponential", "A1111 forks", &["karras", "exponential"]),
];
