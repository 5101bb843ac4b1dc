//! Structs that pass a site as a map of their fields.

/// Implements [`Erase`](crate::Erase) for a struct: a map of its fields, in the order in which they
/// are listed.
macro_rules! erase_as_map {
    ([$($generics:tt)*] $type:ty { $($field:ident),+ $(,)? }) => {
        impl<$($generics)*> $crate::Erase for $type {
            fn erase(self) -> $crate::Value {
                let fields = [$((stringify!($field).into(), self.$field.erase())),+];
                $crate::Value::Map(fields.into())
            }

            fn recover(value: $crate::Value) -> Result<Self, interloom_engine::Misfit> {
                Ok(Self {
                    $($field: $crate::Erase::recover(value.get(stringify!($field))?)?),+
                })
            }
        }
    };
}

pub(super) use erase_as_map;
