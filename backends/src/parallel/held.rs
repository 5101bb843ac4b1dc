//! The elements of tensors of the CPU, where they lie.

use burn::backend::tensor::FloatTensor;
use burn::backend::{BackendTensor, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{Bool, Tensor};

use super::matrix::Matrix;
use super::{are_divisible, is_divisible};
use crate::tensor::ElementKind;

/// The elements of a tensor of the CPU, which are not copied.
pub(super) struct Held<const D: usize> {
    // Of booleans it is the same type.
    tensor: FloatTensor<Flex>,
    shape: [usize; D],
    strides: [usize; D],
}

impl<const D: usize> Held<D> {
    /// Holds the elements of a tensor that [is divisible](is_divisible).
    pub(super) fn floats(tensor: &Tensor<D>) -> Option<Self> {
        let is_held = is_divisible(tensor);
        let held = is_held.then(|| on_cpu(tensor.clone())).flatten()?;
        Self::new(held.float(), tensor.dims())
    }

    /// Holds the elements of two tensors that [are divisible](are_divisible) together.
    pub(super) fn both(one: &Tensor<D>, other: &Tensor<D>) -> Option<(Self, Self)> {
        let are_held = are_divisible(&[one, other]);
        let both = || Self::floats(one).zip(Self::floats(other));
        are_held.then(both).flatten()
    }

    /// Holds the elements of a tensor of booleans.
    pub(super) fn flags(tensor: &Tensor<D, Bool>) -> Option<Self> {
        let held = on_cpu(tensor.clone())?;
        Self::new(held.bool(), tensor.dims())
    }

    /// Nothing if the elements lie backwards.
    fn new(tensor: FloatTensor<Flex>, shape: [usize; D]) -> Option<Self> {
        let mut strides = [0; D];
        for (stride, found) in strides.iter_mut().zip(tensor.layout().strides()) {
            *stride = usize::try_from(*found).ok()?;
        }
        Some(Self {
            tensor,
            shape,
            strides,
        })
    }

    pub(super) const fn shape(&self) -> [usize; D] {
        self.shape
    }

    /// Returns whether the elements of a dimension are one and the same.
    pub(super) const fn is_shared(&self, dimension: usize) -> bool {
        self.strides[dimension] == 0
    }

    /// Returns where the matrix with these leading indices begins.
    fn start(&self, leading: &[usize]) -> usize {
        let steps = leading.iter().zip(self.strides);
        let steps = steps.map(|(index, stride)| index * stride);
        self.tensor.layout().start_offset() + steps.sum::<usize>()
    }

    /// Returns the matrix with these leading indices; none of a tensor of two dimensions.
    pub(super) fn matrix(&self, leading: &[usize]) -> Matrix<'_> {
        debug_assert_eq!(leading.len() + 2, D);
        let last = |of: [usize; D]| [of[D - 2], of[D - 1]];
        let elements = &self.tensor.storage::<f32>()[self.start(leading)..];
        Matrix::new(elements, last(self.shape), last(self.strides))
    }

    /// Returns the flags with these leading indices, of a tensor whose last dimension lies in one.
    pub(super) fn row(&self, leading: &[usize]) -> Option<&[u8]> {
        debug_assert_eq!(leading.len() + 1, D);
        let start = self.start(leading);
        let is_in_one = self.strides[D - 1] == 1;
        is_in_one.then(|| &self.tensor.storage::<u8>()[start..start + self.shape[D - 1]])
    }
}

fn on_cpu<const D: usize, K: ElementKind>(tensor: Tensor<D, K>) -> Option<BackendTensor<Flex>> {
    let tensor = tensor.without_autodiff().into_dispatch();
    <DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(tensor).ok()
}
