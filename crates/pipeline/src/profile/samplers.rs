//! The samplers of a profile: which one a name means, which one nobody chose, and what is left to it.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{
    DeisVariable, FlowVariable, LcmBoundary, Levels, LowerOrderFinal, NoisePath, PlmsAverage,
    Prediction, Sampler, SamplerOptions, Scheduler, names,
};

use super::{Handover, Ladders, Profile};
use crate::error::{Error, Result};
use crate::request::{Compat, Request};

/// Where k-diffusion's samplers in ComfyUI begin on a flow instead of at σ = 1: this share of its time.
const FLOW_TOP: f64 = 0.9999;

impl Profile {
    /// η where the request says nothing and the program does not go by the sampler's own.
    fn eta(&self, sampler: Sampler) -> Option<f64> {
        // A1111 hands its ancestral η to every function that takes one.
        let takes = matches!(sampler, Sampler::DpmFast | Sampler::DpmAdaptive);
        (self.compat == Compat::A1111 && takes).then_some(1.0)
    }

    /// The η that a sampler runs with.
    pub(crate) fn eta_of(&self, request: &Request, sampler: Sampler) -> f64 {
        let given = request.eta.or_else(|| self.eta(sampler));
        given.unwrap_or_else(|| sampler.default_eta())
    }

    /// Whether ancestral steps draw from the picture's stream, so that re-seeding it (ENSD) changes the picture.
    pub fn ancestral(&self, request: &Request, sampler: Sampler) -> bool {
        let eta = request.eta.or_else(|| self.eta(sampler));
        let path = self.brownian && sampler.brownian_noise();
        sampler.default_eta().max(self.eta(sampler).unwrap_or(0.0)) > 0.0
            && eta != Some(0.0)
            && !path
    }

    /// The form of a sampler that the program runs under its name: diffusers' UniPC is B₂, the others' B₁.
    pub fn sampler(&self, named: Sampler) -> Sampler {
        match (self.compat, named) {
            (Compat::Diffusers, Sampler::UniPcBh1) => Sampler::UniPcBh2,
            _ => named,
        }
    }

    /// The sampler, and the scheduler where it brings one, that the program draws with when nothing is chosen: diffusers
    /// takes the class of the model's `scheduler_config.json`. The others' choices were made for models that are no flows;
    /// of a flow it is Euler.
    ///
    /// # Errors
    /// A class that is not implemented.
    pub fn default_sampler(
        &self,
        config: &SchedulerConfig,
    ) -> Result<(Sampler, Option<Scheduler>)> {
        let text = |key: &str| config.rest.get(key).and_then(|v| v.as_str());
        match self.compat {
            Compat::A1111 | Compat::ComfyUi if is_flow(config) => Ok((Sampler::Euler, None)),
            Compat::A1111 => Ok((Sampler::Dpmpp2m, None)),
            Compat::ComfyUi => Ok((Sampler::Euler, None)),
            Compat::Diffusers if config.class_name.is_empty() => match is_flow(config) {
                true => Ok((Sampler::Euler, None)),
                false => Ok((Sampler::Plms, None)),
            },
            Compat::Diffusers => {
                let order = config.rest.get("solver_order").and_then(|v| v.as_u64());
                let flags = names::ClassFlags {
                    algorithm_type: text("algorithm_type"),
                    solver_type: text("solver_type"),
                    solver_order: order.and_then(|order| usize::try_from(order).ok()),
                    use_karras_sigmas: config.use_karras_sigmas,
                    use_exponential_sigmas: config.use_exponential_sigmas,
                    use_beta_sigmas: config.use_beta_sigmas,
                };
                let parsed = names::parse_class(&config.class_name, &flags);
                parsed.map_err(|source| Error::Scheduler { source })
            }
        }
    }

    /// What `Automatic` stands for. Of a flow, whose published ladder is no curve, for itself.
    pub fn default_scheduler(&self, sampler: Sampler, config: &SchedulerConfig) -> Scheduler {
        match self.compat {
            _ if is_flow(config) => Scheduler::Automatic,
            // A1111's LCM has no default of its own.
            Compat::A1111 if sampler == Sampler::Lcm => Scheduler::Automatic,
            Compat::A1111 => names::sampler_info(sampler).scheduler,
            Compat::ComfyUi => Scheduler::Normal,
            Compat::Diffusers => Scheduler::Automatic,
        }
    }

    /// What the request and the program leave to the sampler.
    pub fn options(
        &self,
        request: &Request,
        sampler: Sampler,
        (path, prediction): (&NoisePath, Prediction),
        steps: usize,
    ) -> SamplerOptions {
        let mut options = SamplerOptions {
            eta: request.eta.or_else(|| self.eta(sampler)),
            s_noise: request.s_noise,
            s_churn: request.s_churn,
            s_tmin: request.s_tmin,
            s_tmax: request.s_tmax,
            schedule: match path {
                NoisePath::Discrete(schedule) => Some(schedule.sigmas().into()),
                NoisePath::Edm(_) | NoisePath::Flow(_) => None,
            },
            ..SamplerOptions::default()
        };
        if let (Compat::A1111 | Compat::ComfyUi, NoisePath::Flow(flow)) = (self.compat, path) {
            options.flow_variable = FlowVariable::LogSigma;
            options.flow_top = flow.sigma(FLOW_TOP * flow.sigmas().len() as f64);
        }
        match self.compat {
            Compat::A1111 => {
                options.churn_always_draws = true;
                options.lcm_boundary = LcmBoundary::Sigma;
            }
            Compat::ComfyUi => {
                options.lcm_boundary = LcmBoundary::Off;
                options.unipc_final_sigma = 0.001;
                options.deis_variable = DeisVariable::VpTime;
                if sampler == Sampler::Deis {
                    options.order = Some(3);
                    options.lower_order_final = Some(LowerOrderFinal::Never);
                }
                options.variance_preserving_end = Some(false);
            }
            Compat::Diffusers => {
                options.lower_order_final = match sampler {
                    Sampler::UniPcBh1 | Sampler::UniPcBh2 => None,
                    _ => Some(LowerOrderFinal::Below(15)),
                };
                if prediction == Prediction::V {
                    options.plms_average = PlmsAverage::Velocity;
                }
            }
        }
        if self.ladders != Ladders::Spaced
            && matches!(sampler, Sampler::UniPcBh1 | Sampler::UniPcBh2)
        {
            // ComfyUI keeps one step more than the order.
            let kept = usize::from(self.compat == Compat::ComfyUi);
            options.order = Some(3.min(steps.saturating_sub(kept)).max(1));
        }
        options
    }

    /// When the order of a multistep solver falls towards the end of a walk that a refiner goes on from: of a walk that the
    /// program knows to be a part, never.
    pub(crate) fn order_before_handover(
        &self,
        options: &SamplerOptions,
    ) -> Option<LowerOrderFinal> {
        match self.handover {
            Handover::Time => Some(LowerOrderFinal::Never),
            Handover::Within | Handover::Steps => options.lower_order_final,
        }
    }
}

/// Whether a model's settings say that it is a rectified flow.
fn is_flow(config: &SchedulerConfig) -> bool {
    let kind = config.prediction_type.parse::<Prediction>();
    kind.is_ok_and(|kind| kind == Prediction::Flow)
}
