//! Rows that stay orthonormal.

use burn::module::Param;
use burn::tensor::{DType, FloatDType, Tensor};

/// How far products of stored rows may be from those of orthonormal ones.
pub(super) const DEFECT_MAX: f64 = 1e-6;

/// Returns the orthonormal rows that stored ones stand for, `[rank, width]`.
///
/// They are a pure function of the stored ones, so that whatever becomes of those (an update by an
/// optimizer, a file, another process) the rows in use are orthonormal. The gradient passes
/// straight through: it is that of the rows in use, as it is for a plain parameter.
pub(super) fn orthonormal(stored: &Param<Tensor<2>>) -> Tensor<2> {
    let stored = stored.val();
    let rows = gram_schmidt(stored.clone().without_autodiff());
    // Zeros, with the gradient of the stored rows.
    rows + (stored.clone() - stored.detach())
}

/// Returns what [`orthonormal`] does, with the part of the gradient along which the rows stay
/// orthonormal: `G - (G R^T + R G^T) R / 2`.
///
/// What is left out is undone by the next update anyway, but an optimizer that keeps moments would
/// go on with it: a rotation of 16 dimensions learned hardly anything so.
pub(super) fn orthonormal_along(stored: &Param<Tensor<2>>) -> Tensor<2> {
    let stored = stored.val();
    let rows = gram_schmidt(stored.clone().without_autodiff());
    let products = stored.clone().matmul(rows.clone().transpose());
    let symmetric = (products.clone() + products.transpose()) * 0.5;
    let along = stored - symmetric.matmul(rows.clone());
    rows + (along.clone() - along.detach())
}

/// Puts in the place of stored rows the orthonormal ones that they stand for; the parameter stays
/// the same to an optimizer.
pub(super) fn settle(stored: Param<Tensor<2>>) -> Param<Tensor<2>> {
    stored.map(|rows| {
        let learns = rows.is_require_grad();
        let rows = gram_schmidt(rows.detach());
        rows.detach().set_require_grad(learns)
    })
}

/// Makes rows orthonormal, from the first to the last, each as near as it can be to what it was:
/// `rows^T = Q T` with `T` upper triangular and positive on its diagonal, and the result is `Q^T`.
///
/// In 64 bits, and each row is freed of those before it twice: once leaves as much of them as the
/// rows were alike.
pub(super) fn gram_schmidt(rows: Tensor<2>) -> Tensor<2> {
    let [count, _] = rows.dims();
    let dtype = match rows.dtype() {
        DType::F64 => FloatDType::F64,
        DType::F16 => FloatDType::F16,
        DType::BF16 => FloatDType::BF16,
        _ => FloatDType::F32,
    };
    let wide = rows.cast(FloatDType::F64);
    let mut done: Option<Tensor<2>> = None;
    for row in 0..count {
        let mut own = wide.clone().narrow(0, row, 1);
        if let Some(done) = &done {
            for _ in 0..2 {
                let shares = (done.clone() * own.clone()).sum_dim(1);
                own = own - (done.clone() * shares).sum_dim(0);
            }
        }
        let length = own.clone().square().sum_dim(1).sqrt();
        let own = own / length;
        done = Some(match done {
            Some(done) => Tensor::cat(vec![done, own], 0),
            None => own,
        });
    }
    done.unwrap_or(wide).cast(dtype)
}

/// Returns how far the products of rows are from those of orthonormal ones: the largest element of
/// `|R R^T - 1|`, in 64 bits.
pub(super) fn defect(rows: &Tensor<2>) -> f64 {
    let [count, width] = rows.dims();
    let data = rows.clone().without_autodiff().into_data();
    let data: Vec<f64> = data.iter::<f64>().collect();
    let row = |at: usize| &data[at * width..(at + 1) * width];
    let product = |(a, b): (usize, usize)| {
        let product: f64 = row(a).iter().zip(row(b)).map(|(x, y)| x * y).sum();
        (product - f64::from(u8::from(a == b))).abs()
    };
    let pairs = (0..count).flat_map(|a| (0..=a).map(move |b| (a, b)));
    // What is not a number is no defect that could be small.
    let worse = |most: f64, next: f64| if next <= most { most } else { next };
    pairs.map(product).fold(0.0, worse)
}
