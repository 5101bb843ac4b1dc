//! Functions of the last dimension of a tensor of any rank.

use burn::tensor::Tensor;
use interloom_backends::{AnyTensor, Erase, Kind, Value};
use interloom_engine::Misfit;

/// Applies `make` to a tensor as rows `[row, width]`, and gives what that makes the dimensions
/// before the last.
pub(super) fn over_rows<const D: usize>(
    h: Tensor<D>,
    make: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<D> {
    let shape = h.dims();
    let made = make(as_rows(h));
    let mut shape = shape;
    shape[D - 1] = made.dims()[1];
    made.reshape(shape)
}

/// Returns a tensor as rows `[row, width]`.
pub(super) fn as_rows<const D: usize>(h: Tensor<D>) -> Tensor<2> {
    let shape = h.dims();
    let rows = shape[..D - 1].iter().product();
    h.reshape([rows, shape[D - 1]])
}

/// A tensor of floats without its type, as rows, with what is needed to give it its shape again.
pub(super) struct ErasedRows {
    pub(super) rows: Tensor<2>,
    shape: Vec<usize>,
}

impl ErasedRows {
    /// Takes a tensor of floats whose last dimension is `width`, and that is not empty.
    pub(super) fn of(value: Value, width: usize) -> Result<Self, Misfit> {
        let fits = |tensor: &AnyTensor| {
            let shape = tensor.shape();
            tensor.kind() == Kind::Float && shape.last() == Some(&width) && !shape.contains(&0)
        };
        match value {
            Value::Tensor(tensor) if fits(&tensor) => Ok(Self {
                shape: tensor.shape(),
                rows: rows_of(tensor)?,
            }),
            other => Err(Misfit {
                expected: format!("floats with a last dimension of {width}"),
                found: other.to_string(),
            }),
        }
    }

    /// Returns the dimensions before the last.
    pub(super) fn before(&self) -> &[usize] {
        &self.shape[..self.shape.len() - 1]
    }
}

macro_rules! by_rank {
    ($rank:expr, $D:ident => $body:expr; $($rank_of:literal)*) => {
        match $rank {
            $($rank_of => { const $D: usize = $rank_of; $body })*
            rank => Err(Misfit {
                expected: "a tensor of 1 to 8 dimensions".to_owned(),
                found: format!("one of {rank}"),
            }),
        }
    };
}

fn rows_of(tensor: AnyTensor) -> Result<Tensor<2>, Misfit> {
    by_rank!(tensor.rank(), D => Ok(as_rows(Tensor::<D>::recover(Value::Tensor(tensor))?)); 1 2 3 4 5 6 7 8)
}

/// Gives rows the dimensions `before` in the place of their first.
pub(super) fn erased(rows: Tensor<2>, before: &[usize]) -> Result<Value, Misfit> {
    let shape = [before, &[rows.dims()[1]]].concat();
    by_rank!(shape.len(), D => {
        let shape: [usize; D] = shape.try_into().expect("as many as the rank");
        Ok(rows.reshape(shape).erase())
    }; 1 2 3 4 5 6 7 8)
}
