//! Tensors without a rank and a kind in their type.
//!
//! Burn's `Tensor<D, K>` has both in its type, and its own conversion from an untyped tensor checks
//! the kind only. [`AnyTensor`] keeps the tensor untyped and checks kind *and* rank whenever a
//! typed one is asked for.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use burn::backend::{DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, TensorMetadata};
use burn::tensor::kind::{Autodiff, Basic};
use burn::tensor::{Bool, DType, Device, Float, Int, Tensor, TensorData, Transaction};
use interloom_engine::{Misfit, Ragged, Rows, View};

use crate::gradient;

/// The largest rank that a tensor may have.
pub const RANK_MAX: usize = 8;

/// The kind of a tensor's elements.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Integers.
    Int,
    /// Truth values.
    Bool,
}

/// A kind of burn's tensors, as a type.
pub trait ElementKind: Basic + Autodiff {
    /// The kind as a value.
    const ELEMENT: Kind;
}

impl ElementKind for Float {
    const ELEMENT: Kind = Kind::Float;
}

impl ElementKind for Int {
    const ELEMENT: Kind = Kind::Int;
}

impl ElementKind for Bool {
    const ELEMENT: Kind = Kind::Bool;
}

/// A burn tensor of any kind and rank, shared by its clones.
#[derive(Clone)]
pub struct AnyTensor {
    kind: Kind,
    inner: Arc<DispatchTensor>,
    /// Which positions of its rows are padding; what is computed of it does not have the mark.
    ragged: Option<Arc<Ragged>>,
}

/// Runs a generic body on the typed tensor behind an [`AnyTensor`].
macro_rules! with_typed {
    ($any:expr, |$tensor:ident: Tensor<_, $kind:ty>| $body:expr) => {{
        let any = $any;
        match any.rank() {
            1 => {
                let $tensor: Tensor<1, $kind> = any.assume_typed();
                $body
            }
            2 => {
                let $tensor: Tensor<2, $kind> = any.assume_typed();
                $body
            }
            3 => {
                let $tensor: Tensor<3, $kind> = any.assume_typed();
                $body
            }
            4 => {
                let $tensor: Tensor<4, $kind> = any.assume_typed();
                $body
            }
            5 => {
                let $tensor: Tensor<5, $kind> = any.assume_typed();
                $body
            }
            6 => {
                let $tensor: Tensor<6, $kind> = any.assume_typed();
                $body
            }
            7 => {
                let $tensor: Tensor<7, $kind> = any.assume_typed();
                $body
            }
            8 => {
                let $tensor: Tensor<8, $kind> = any.assume_typed();
                $body
            }
            rank => unreachable!("rank {rank} was refused when the tensor was erased"),
        }
    }};
}

/// Runs a body on the typed tensor, whatever its kind.
macro_rules! with_any {
    ($any:expr, |$tensor:ident| $body:expr) => {{
        let any = $any;
        match any.kind() {
            Kind::Float => with_typed!(any, |$tensor: Tensor<_, Float>| $body),
            Kind::Int => with_typed!(any, |$tensor: Tensor<_, Int>| $body),
            Kind::Bool => with_typed!(any, |$tensor: Tensor<_, Bool>| $body),
        }
    }};
}

pub(crate) use {with_any, with_typed};

impl AnyTensor {
    /// Forgets kind and rank.
    ///
    /// The rank is 1 to [`RANK_MAX`], which the compiler checks; burn's own scalars have rank 1.
    pub fn new<const D: usize, K: ElementKind>(tensor: Tensor<D, K>) -> Self {
        const { assert!(D >= 1 && D <= RANK_MAX, "tensors have 1 to 8 dimensions") };
        Self {
            kind: K::ELEMENT,
            inner: Arc::new(tensor.into_dispatch()),
            ragged: None,
        }
    }

    /// Makes a tensor from its data.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the rank is 0 or more than [`RANK_MAX`], or the element type is quantised.
    pub fn from_data(data: TensorData, device: &Device) -> Result<Self, Misfit> {
        let kind = match data.dtype() {
            DType::QFloat(_) => None,
            DType::Bool(_) => Some(Kind::Bool),
            dtype if dtype.is_float() => Some(Kind::Float),
            dtype if dtype.is_int() || dtype.is_uint() => Some(Kind::Int),
            _ => None,
        };
        let rank = data.shape().num_dims();
        match kind {
            Some(kind) if (1..=RANK_MAX).contains(&rank) => Ok(from_data(data, kind, rank, device)),
            _ => Err(Misfit {
                expected: format!("a tensor of 1 to {RANK_MAX} dimensions that is not quantised"),
                found: format!("{:?} of {rank} dimensions", data.dtype()),
            }),
        }
    }

    /// Returns the typed tensor.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the kind or the rank is another.
    pub fn typed<const D: usize, K: ElementKind>(self) -> Result<Tensor<D, K>, Misfit> {
        if self.kind == K::ELEMENT && self.rank() == D {
            return Ok(self.assume_typed());
        }
        Err(Misfit {
            expected: format!("a tensor of {D} dimensions and kind {}", K::ELEMENT),
            found: self.to_string(),
        })
    }

    /// Returns the kind of the elements.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns how many dimensions the tensor has.
    pub fn rank(&self) -> usize {
        self.inner.rank()
    }

    /// Returns the length of each dimension.
    pub fn shape(&self) -> Vec<usize> {
        self.inner.shape().to_vec()
    }

    /// Returns whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.shape().iter().any(|&length| length == 0)
    }

    /// Returns how many elements there are.
    pub(crate) fn elements(&self) -> usize {
        self.inner.shape().num_elements()
    }

    /// Returns the type of the elements.
    pub fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    /// Returns the device that holds the tensor.
    pub fn device(&self) -> Device {
        with_any!(self.clone(), |tensor| tensor.device())
    }

    /// Reads the elements back from the device.
    ///
    /// # Panics
    ///
    /// Panics if the device fails, as burn's own `into_data` does.
    pub fn to_data(&self) -> TensorData {
        with_any!(self.clone(), |tensor| tensor.into_data())
    }

    /// Returns whether the elements are in this process's memory, so that nothing is waited for
    /// when they are read.
    pub fn is_on_host(&self) -> bool {
        is_on_host(&self.inner.kind)
    }

    /// Returns how many bytes the elements take.
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.shape().iter().map(|&length| length as u64).product();
        elements * self.dtype().size() as u64
    }

    /// Reads the elements of many tensors back, waiting once for each device and not once for each
    /// tensor.
    ///
    /// # Panics
    ///
    /// Panics if a device fails, as [`to_data`](Self::to_data) does.
    pub fn read(tensors: &[Self]) -> Vec<TensorData> {
        let mut read: Vec<Option<TensorData>> = vec![None; tensors.len()];
        let mut devices: Vec<(Device, Vec<usize>)> = Vec::new();
        for (place, tensor) in tensors.iter().enumerate() {
            if tensor.is_on_host() || matches!(tensor.dtype(), DType::QFloat(_)) {
                // Burn's transactions cost more than they save here, and do not take quantised
                // tensors.
                read[place] = Some(tensor.to_data());
                continue;
            }
            let device = tensor.device();
            match devices.iter_mut().find(|(known, _)| *known == device) {
                Some((_, places)) => places.push(place),
                None => devices.push((device, vec![place])),
            }
        }
        for (_, places) in devices {
            let transaction = places.iter().fold(Transaction::default(), |reads, &place| {
                with_any!(tensors[place].clone(), |tensor| reads
                    .register(tensor.without_autodiff()))
            });
            for (place, data) in places.into_iter().zip(transaction.execute()) {
                read[place] = Some(data);
            }
        }
        let read = read.into_iter();
        read.map(|data| data.expect("each tensor was read"))
            .collect()
    }

    /// Returns the tensor without the graph that autodiff would follow.
    pub fn detached(self) -> Self {
        match self.kind {
            Kind::Float => {
                let ragged = self.ragged.clone();
                let detached =
                    with_typed!(self, |tensor: Tensor<_, Float>| Self::new(tensor.detach()));
                Self { ragged, ..detached }
            }
            Kind::Int | Kind::Bool => self,
        }
    }

    /// Returns whether `other` is a clone of this tensor, so that it has the same elements without
    /// a look at them.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Returns whether `other` has the same kind, element type and shape.
    pub fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.dtype() == other.dtype()
            && self.inner.shape() == other.inner.shape()
    }

    /// Returns some rows along dimension 0.
    ///
    /// # Panics
    ///
    /// Panics if the tensor does not have these rows.
    pub fn rows(self, rows: Rows) -> Self {
        assert!(
            self.shape()[0] as u64 >= u64::from(rows.end()),
            "rows {}..{} of {self}: the run's invokes have more rows than the model's batch",
            rows.start,
            rows.end()
        );
        let range = rows.start as usize..rows.end() as usize;
        with_any!(self, |tensor| Self::new(tensor.slice([range])))
    }

    /// Returns which positions of the rows are padding, if the rows differ in that.
    pub fn ragged(&self) -> Option<&Ragged> {
        self.ragged.as_deref()
    }

    /// Returns the tensor with another mark, or without one.
    pub(crate) fn marked(self, ragged: Option<Ragged>) -> Self {
        Self {
            ragged: ragged.map(Arc::new),
            ..self
        }
    }

    /// Returns the positions of a view in these dimensions, marked where some are padding.
    pub(crate) fn own(self, view: View<'_>, dimensions: &[usize]) -> Self {
        let shape: Vec<u64> = self.shape().iter().map(|&length| length as u64).collect();
        let ranges = own_ranges(view, &shape, dimensions);
        let own: Vec<u64> = ranges.iter().map(|range| range.end - range.start).collect();
        let part = if own == shape {
            self
        } else {
            self.part(&ranges).expect("the ranges lie in the shape")
        };
        part.marked(view.ragged(&shape, dimensions))
    }

    /// Returns the tensor with another part in the place of a view's positions.
    pub(crate) fn with_own(self, view: View<'_>, dimensions: &[usize], part: &Self) -> Self {
        let shape: Vec<u64> = self.shape().iter().map(|&length| length as u64).collect();
        let ranges = own_ranges(view, &shape, dimensions);
        let patched = self.with_part(&ranges, part);
        patched.expect("the part was compared with that of the tensor")
    }

    /// Returns a tensor of a view's positions with zeros where the batch is padded.
    pub(crate) fn padded(self, view: View<'_>, dimensions: &[usize]) -> Self {
        let mut shape = self.shape();
        for &at in dimensions {
            if let Some(length) = shape.get_mut(at) {
                *length = view.widened(*length as u64) as usize;
            }
        }
        if shape == self.shape() {
            return self;
        }
        let device = self.device();
        let zeros = with_any!(self.clone(), |tensor| Self::new(zeros_of(
            &tensor, &shape, &device
        )));
        zeros.with_own(view, dimensions, &self)
    }

    /// Returns the tensor with `part` in place of those rows, whose shape it has.
    pub fn with_rows(self, rows: Rows, part: Self) -> Self {
        debug_assert!(self.clone().rows(rows).is_like(&part));
        if rows.count == 0 {
            return self;
        }
        let range = rows.start as usize..rows.end() as usize;
        with_any!(self, |tensor| Self::new(
            tensor.slice_assign([range], part.assume_typed())
        ))
    }

    /// Joins tensors that differ in dimension 0 only.
    pub fn join(parts: Vec<Self>) -> Self {
        let first = parts[0].clone();
        with_any!(first, |tensor| {
            let _rank_and_kind = &tensor;
            let typed = parts.into_iter().map(|part| same_type(&tensor, part));
            Self::new(Tensor::cat(typed.collect(), 0))
        })
    }

    /// Gives the tensor back its type, which the caller has checked; inside a backward pass without
    /// its graph, which is locked there.
    pub(crate) fn assume_typed<const D: usize, K: ElementKind>(self) -> Tensor<D, K> {
        debug_assert!(self.rank() == D && self.kind == K::ELEMENT);
        let tensor = Tensor::<D, K>::from_dispatch(Arc::unwrap_or_clone(self.inner));
        if gradient::is_inside() {
            tensor.without_autodiff()
        } else {
            tensor
        }
    }

    /// Makes a tensor of one of burn's whose kind the caller knows.
    pub(crate) fn from_dispatch(kind: Kind, tensor: DispatchTensor) -> Self {
        Self {
            kind,
            inner: Arc::new(tensor),
            ragged: None,
        }
    }

    /// Returns burn's tensor.
    pub(crate) fn dispatch(&self) -> &DispatchTensor {
        &self.inner
    }

    /// Returns whether operations on the tensor may be recorded in a graph.
    pub(crate) fn is_autodiff(&self) -> bool {
        self.inner.autodiff != DispatchAutodiffContext::Disabled
    }

    /// Returns whether the tensor belongs to a graph.
    pub(crate) fn is_tracked(&self) -> bool {
        // The rank plays no part in it.
        let tensor = || Tensor::<1>::from_dispatch(self.inner.as_ref().clone());
        self.kind == Kind::Float && self.is_autodiff() && tensor().is_tracked()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Int => "int",
            Self::Bool => "bool",
        })
    }
}

impl fmt::Display for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", dtype_name(self.dtype()), self.shape())
    }
}

impl fmt::Debug for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the usual short name of an element type.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "f64",
        DType::F32 | DType::Flex32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I64 => "i64",
        DType::I32 => "i32",
        DType::I16 => "i16",
        DType::I8 => "i8",
        DType::U64 => "u64",
        DType::U32 => "u32",
        DType::U16 => "u16",
        DType::U8 => "u8",
        DType::Bool(_) => "bool",
        DType::QFloat(_) => "quantised",
    }
}

fn is_on_host(kind: &DispatchTensorKind) -> bool {
    match kind {
        DispatchTensorKind::Flex(_) => true,
        DispatchTensorKind::Autodiff(inner) => is_on_host(inner),
        // Which others there are depends on the build.
        #[allow(unreachable_patterns, reason = "without CUDA there are no others")]
        _ => false,
    }
}

fn from_data(data: TensorData, kind: Kind, rank: usize, device: &Device) -> AnyTensor {
    macro_rules! of_rank {
        ($kind:ty; $($rank:literal)*) => {
            match rank {
                $($rank => {
                    let options = (device, data.dtype());
                    AnyTensor::new(Tensor::<$rank, $kind>::from_data(data, options))
                })*
                _ => unreachable!("the rank was checked"),
            }
        };
    }
    match kind {
        Kind::Float => of_rank!(Float; 1 2 3 4 5 6 7 8),
        Kind::Int => of_rank!(Int; 1 2 3 4 5 6 7 8),
        Kind::Bool => of_rank!(Bool; 1 2 3 4 5 6 7 8),
    }
}

/// Returns for each dimension which of its places a view has.
fn own_ranges(view: View<'_>, shape: &[u64], dimensions: &[usize]) -> Vec<Range<u64>> {
    let range = |(at, &length): (usize, &u64)| match dimensions.contains(&at) {
        true => view.range(length),
        false => 0..length,
    };
    shape.iter().enumerate().map(range).collect()
}

fn zeros_of<const D: usize, K: ElementKind>(
    like: &Tensor<D, K>,
    shape: &[usize],
    device: &Device,
) -> Tensor<D, K> {
    let shape: [usize; D] = shape.try_into().expect("padding keeps the rank");
    Tensor::zeros(shape, (device, like.dtype()))
}

fn same_type<const D: usize, K: ElementKind>(_: &Tensor<D, K>, part: AnyTensor) -> Tensor<D, K> {
    part.assume_typed()
}
