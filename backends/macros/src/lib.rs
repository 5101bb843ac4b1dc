//! The attribute that gives the calls in a forward function sites, for Interloom.
//!
//! It is documented where it is used from, as `interloom_backends::operations`: this crate knows
//! syntax only.
#![forbid(unsafe_code)]

mod block;
mod call;
mod names;
mod walk;

use proc_macro::TokenStream;

/// Gives the calls in the functions of an `impl` block sites below the field `source` of its type.
#[proc_macro_attribute]
pub fn operations(arguments: TokenStream, block: TokenStream) -> TokenStream {
    block::expand(arguments.into(), block.into()).into()
}

#[cfg(test)]
mod tests;
