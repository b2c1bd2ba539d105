//! How an operation goes through burn.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor,
    DispatchTensorKind, ExtensionType, Flex, backend_extension,
};
use burn::tensor::Tensor;

/// The `N` inputs of an operation; those that are optional may be absent.
pub(crate) type Args<const N: usize> = [Option<FlexTensor>; N];

/// An operation with `N` inputs and its derivative. The value itself holds the settings.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the forward pass keeps for the backward pass, besides inputs.
    type Kept: Clone + Debug + Default + Send + 'static;

    /// The output. `kept` is to be filled where it is given.
    fn forward(&self, inputs: Args<N>, kept: Option<&mut Self::Kept>) -> FlexTensor;

    /// Which inputs the backward pass reads, when gradients of `wanted` inputs are asked for. The
    /// others are not kept alive.
    fn reads(&self, wanted: [bool; N]) -> [bool; N];

    /// The gradient of every wanted input, in its shape.
    fn backward(&self, saved: Saved<N, Self::Kept>, gradient: FlexTensor) -> Args<N>;
}

/// What is left of a forward pass.
#[derive(Debug, Clone)]
pub(crate) struct Saved<const N: usize, K> {
    /// The inputs that [`Operation::reads`] named.
    pub inputs: Args<N>,
    /// Whose gradients are asked for.
    pub wanted: [bool; N],
    /// What the forward pass kept.
    pub kept: K,
}

/// An input that is never absent.
pub(crate) fn given(input: Option<FlexTensor>) -> FlexTensor {
    input.expect("an operation's input that is not optional")
}

/// Computes `operation`. On the CPU only.
pub(crate) fn run<const N: usize, const D: usize, O: Operation<N>>(
    operation: O,
    inputs: [Option<DispatchTensor>; N],
) -> Tensor<D> {
    let inputs = Inputs(inputs.into());
    Tensor::from_dispatch(<Dispatch as Kernels>::operate::<O, N>(operation, inputs))
}

/// The inputs as burn routes them.
pub(crate) struct Inputs<B: Backend>(Vec<Option<FloatTensor<B>>>);

impl<B: Backend> ExtensionType<B> for Inputs<B> {
    type Target = Inputs<Dispatch>;

    fn map_to_dispatch<F>(self, kind: F, autodiff: DispatchAutodiffContext) -> Inputs<Dispatch>
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let wrap = |tensor| DispatchTensor {
            kind: kind(BackendTensor::Float(tensor)),
            autodiff,
        };
        Inputs(self.0.into_iter().map(|t| t.map(wrap)).collect())
    }

    fn map_from_dispatch<F>(target: Inputs<Dispatch>, unwrap: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let inner = |tensor| unwrap(tensor).float();
        Self(target.0.into_iter().map(|t| t.map(inner)).collect())
    }

    fn routing_tensor(target: &Inputs<Dispatch>) -> Option<&DispatchTensor> {
        target.0.iter().flatten().next()
    }

    fn routing_float_tensor(target: &Inputs<Dispatch>) -> Option<&DispatchTensor> {
        Self::routing_tensor(target)
    }

    fn autodiff_context(target: &Inputs<Dispatch>) -> DispatchAutodiffContext {
        let context = DispatchAutodiffContext::Disabled;
        let inputs = target.0.iter().flatten();
        inputs.fold(context, |context, t| context.merge(t.autodiff))
    }
}

impl<B: Backend> Inputs<B> {
    /// All `N` of them.
    fn take<const N: usize>(self) -> [Option<FloatTensor<B>>; N] {
        let mut inputs = self.0.into_iter();
        std::array::from_fn(|_| inputs.next().flatten())
    }
}

/// burn's side of [`run`]: one method, whatever the operation.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Kernels: Backend {
    /// The operation's output.
    fn operate<O: Operation<N>, const N: usize>(
        operation: O,
        #[extension_type] inputs: Inputs<Self>,
    ) -> FloatTensor<Self>;
}

impl Kernels for Flex {
    fn operate<O: Operation<N>, const N: usize>(operation: O, inputs: Inputs<Self>) -> FlexTensor {
        operation.forward(inputs.take(), None)
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn operate<O: Operation<N>, const N: usize>(
        operation: O,
        inputs: Inputs<Self>,
    ) -> FloatTensor<Self> {
        let inputs: [Option<FloatTensor<Self>>; N] = inputs.take();
        let wanted = inputs
            .each_ref()
            .map(|t| t.as_ref().is_some_and(|t| t.is_tracked()));
        // burn's graph wants a node for each input. The first input's stands in for an absent one,
        // which is never given a gradient.
        let first = inputs
            .iter()
            .flatten()
            .next()
            .expect("an operation has an input");
        let nodes = inputs
            .each_ref()
            .map(|t| t.as_ref().unwrap_or(first).node());
        let step = Step(operation.clone());
        match step.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let inputs = inputs.map(|t| t.map(|t| t.into_primitive()));
                let reads = operation.reads(wanted);
                let mut saved = Saved {
                    inputs: std::array::from_fn(|i| inputs[i].clone().filter(|_| reads[i])),
                    wanted,
                    kept: O::Kept::default(),
                };
                let output = operation.forward(inputs, Some(&mut saved.kept));
                step.finish(saved, output)
            }
            OpsKind::UnTracked(step) => {
                let inputs = inputs.map(|t| t.map(|t| t.into_primitive()));
                step.finish(operation.forward(inputs, None))
            }
        }
    }
}

/// The backward step of an operation in burn's graph.
#[derive(Debug)]
struct Step<O>(O);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = Saved<N, O::Kept>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.state.wanted;
        let found = self.0.backward(ops.state, gradient);
        for (i, (parent, gradient)) in ops.parents.into_iter().zip(found).enumerate() {
            if let (true, Some(parent)) = (wanted[i], parent) {
                let gradient = gradient.expect("the gradient of an input that wants one");
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
