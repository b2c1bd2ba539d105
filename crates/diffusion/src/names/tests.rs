use super::*;

#[test]
fn every_variant_has_its_row_and_every_name_leads_back() {
    for sampler in Sampler::ALL {
        let info = sampler_info(sampler);
        assert_eq!(info.sampler, sampler);
        for name in [info.name, info.label].iter().chain(info.aliases) {
            assert_eq!(parse_sampler(name), Ok((sampler, None)), "{name}");
            let loud = name.to_uppercase();
            assert_eq!(parse_sampler(&loud), Ok((sampler, None)), "{loud}");
        }
    }
    for scheduler in Scheduler::ALL {
        let info = scheduler_info(scheduler);
        assert_eq!(info.scheduler, scheduler);
        for name in [info.name, info.label].iter().chain(info.aliases) {
            assert_eq!(parse_scheduler(name), Ok(scheduler), "{name}");
        }
    }
    assert_eq!(SAMPLERS.len(), Sampler::ALL.len());
    assert_eq!(SCHEDULERS.len(), Scheduler::ALL.len());
}

#[test]
fn every_label_combines_with_every_scheduler() {
    for sampler in samplers() {
        for scheduler in schedulers() {
            for name in [
                format!("{} {}", sampler.label, scheduler.label),
                format!("{}_{}", sampler.name, scheduler.name),
            ] {
                let want = (sampler.sampler, Some(scheduler.scheduler));
                assert_eq!(parse_sampler(&name), Ok(want), "{name}");
            }
        }
    }
}

#[test]
fn names_of_other_programs() {
    use Sampler as S;
    use Scheduler as L;
    let table = [
        // A1111: names, old combined names, aliases
        ("DPM++ 2M Karras", S::Dpmpp2m, Some(L::Karras)),
        (
            "DPM++ 2M SDE Exponential",
            S::Dpmpp2mSde,
            Some(L::Exponential),
        ),
        (
            "DPM++ 2M SDE Heun Karras",
            S::Dpmpp2mSdeHeun,
            Some(L::Karras),
        ),
        ("DPM++ 2M SDE Heun", S::Dpmpp2mSdeHeun, None),
        ("DPM2 a Karras", S::Dpm2Ancestral, Some(L::Karras)),
        ("DPM++ 2M SGM Uniform", S::Dpmpp2m, Some(L::SgmUniform)),
        ("DPM++ 2M SGMUniform", S::Dpmpp2m, Some(L::SgmUniform)),
        ("k_euler_a", S::EulerAncestral, None),
        ("k_euler_ancestral", S::EulerAncestral, None),
        ("k_dpmpp_2m_ka", S::Dpmpp2m, Some(L::Karras)),
        ("k_dpmpp_3m_sde_exp", S::Dpmpp3mSde, Some(L::Exponential)),
        ("k_dpm_ad", S::DpmAdaptive, None),
        ("UniPC", S::UniPcBh1, None),
        // ComfyUI
        ("dpmpp_sde_gpu", S::DpmppSde, None),
        ("uni_pc_bh2", S::UniPcBh2, None),
        ("euler_ancestral_cfg_pp", S::EulerAncestralCfgPp, None),
        // stable-diffusion.cpp, and its PNG text
        ("dpm++2s_a", S::Dpmpp2sAncestral, None),
        ("dpm2", S::Dpm2, None),
        ("euler_a karras", S::EulerAncestral, Some(L::Karras)),
        ("euler_a discrete", S::EulerAncestral, Some(L::Uniform)),
        // InvokeAI, kohya
        ("kdpm_2_a_k", S::Dpm2Ancestral, Some(L::Karras)),
        ("euler_k", S::Euler, Some(L::Karras)),
        ("unipc_k", S::UniPcBh1, Some(L::Karras)),
        ("pndm", S::Plms, None),
        ("k_dpm_2_a", S::Dpm2Ancestral, None),
        ("dpmsolver++", S::Dpmpp2m, None),
        // k-diffusion
        ("sample_dpmpp_2s_ancestral", S::Dpmpp2sAncestral, None),
        // diffusers
        ("PNDMScheduler", S::Plms, None),
        ("EulerAncestralDiscreteScheduler", S::EulerAncestral, None),
    ];
    for (name, sampler, scheduler) in table {
        assert_eq!(parse_sampler(name), Ok((sampler, scheduler)), "{name}");
    }
}

#[test]
fn a1111_defaults() {
    assert_eq!(sampler_info(Sampler::Dpmpp2m).scheduler, Scheduler::Karras);
    assert_eq!(
        sampler_info(Sampler::Dpmpp3mSde).scheduler,
        Scheduler::Exponential
    );
    let discards: Vec<_> = samplers()
        .iter()
        .filter(|s| s.discard_penultimate)
        .map(|s| s.label)
        .collect();
    assert_eq!(discards, ["DPM2", "DPM2 a", "DPM++ 3M SDE"]);
}

#[test]
fn classes_take_their_flags() {
    let flags = |algorithm, solver, order| ClassFlags {
        algorithm_type: algorithm,
        solver_type: solver,
        solver_order: order,
        use_karras_sigmas: true,
        ..ClassFlags::default()
    };
    let parse = |f: ClassFlags<'_>| parse_class("DPMSolverMultistepScheduler", &f);
    let karras = |s| Ok((s, Some(Scheduler::Karras)));
    assert_eq!(parse(flags(None, None, None)), karras(Sampler::Dpmpp2m));
    assert_eq!(
        parse(flags(Some("sde-dpmsolver++"), None, Some(2))),
        karras(Sampler::Dpmpp2mSde)
    );
    assert_eq!(
        parse(flags(Some("sde-dpmsolver++"), Some("heun"), None)),
        karras(Sampler::Dpmpp2mSdeHeun)
    );
    assert_eq!(
        parse(flags(Some("sde-dpmsolver++"), None, Some(3))),
        karras(Sampler::Dpmpp3mSde)
    );
    for wrong in [
        flags(Some("dpmsolver"), None, None),
        flags(None, None, Some(3)),
        flags(None, Some("heun"), None),
    ] {
        assert!(
            matches!(parse(wrong), Err(NameError::Flag { .. })),
            "{wrong:?}"
        );
    }
    for class in tables::CLASSES {
        assert!(
            parse_class(class, &ClassFlags::default()).is_ok(),
            "{class}"
        );
    }
}

#[test]
fn errors_suggest() {
    let text = |name: &str| parse_sampler(name).unwrap_err().to_string();
    assert!(
        text("eular a").contains("`Euler a`") || text("eular a").contains("`euler_a`"),
        "{}",
        text("eular a")
    );
    let missing = text("er_sde");
    assert!(
        missing.contains("ComfyUI") && missing.contains("dpmpp_3m_sde"),
        "{missing}"
    );
    assert!(text("res_multistep karras").contains("not implemented"));
    assert!(text("SASolverScheduler").contains("diffusers"));
    assert!(
        parse_scheduler("karas")
            .unwrap_err()
            .to_string()
            .contains("karras")
    );
    assert!(
        parse_scheduler("bong_tangent")
            .unwrap_err()
            .to_string()
            .contains("kl_optimal")
    );
    for odd in ["", " ", "_", "k_", "karras", "ß++ 日本"] {
        assert!(parse_sampler(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn nothing_is_both_here_and_elsewhere() {
    for (name, ..) in ELSEWHERE_SAMPLERS {
        assert!(
            matches!(parse_sampler(name), Err(NameError::Elsewhere { .. })),
            "{name}"
        );
    }
    for (name, ..) in ELSEWHERE_SCHEDULERS {
        assert!(
            matches!(parse_scheduler(name), Err(NameError::Elsewhere { .. })),
            "{name}"
        );
    }
    let known = |name: &&str| parse_sampler(name).is_ok() || parse_scheduler(name).is_ok();
    for (name, _, nearest) in ELSEWHERE_SAMPLERS.iter().chain(ELSEWHERE_SCHEDULERS) {
        assert!(nearest.iter().all(known), "{name}");
    }
}
