//! A model seen through a plan: every tensor is read from the original and changed when it is asked for; nothing is kept.

use super::Plan;
use crate::codec::Format;
use crate::error::Result;
use crate::job::JobContext;
use crate::model::Weights;
use crate::source::ModelConfig;

/// Weights of the original, changed as the plan says.
pub struct Transformed<'a> {
    original: &'a dyn Weights,
    plan: &'a Plan,
    config: ModelConfig,
    cx: Option<JobContext>,
}

impl<'a> Transformed<'a> {
    /// A view of `original`.
    pub fn new(original: &'a dyn Weights, plan: &'a Plan) -> Self {
        let mut config = original.config().clone();
        config.tied_head &= !plan.unties_head();
        Self { original, plan, config, cx: None }
    }

    /// The same, computed by a job's device; without one by the CPU, in double precision.
    #[must_use]
    pub fn on(self, cx: &JobContext) -> Self {
        Self { cx: Some(cx.clone()), ..self }
    }
}

impl Weights for Transformed<'_> {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn load(&self, name: &str) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
        let Some((mut values, shape)) = self.original.load(self.plan.copies.get(name).map_or(name, String::as_str))? else { return Ok(None) };
        for step in self.plan.steps.get(name).into_iter().flatten() {
            step.apply(name, &mut values, &shape, self.cx.as_ref())?;
        }
        Ok(Some((values, shape)))
    }

    fn stored_as(&self, name: &str) -> Option<Format> {
        if self.plan.steps.contains_key(name) { Some(Format::F32) } else { self.original.stored_as(self.plan.copies.get(name).map_or(name, String::as_str)) }
    }
}
