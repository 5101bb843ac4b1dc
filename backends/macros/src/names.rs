//! Which calls are operations, and what they are called.

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::{Expr, ExprCall, ExprMethodCall, Member};

/// Methods that hand something on, or say something about it, and compute nothing.
const PLUMBING: &[&str] = &[
    "as_deref",
    "as_mut",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "borrow_mut",
    "chain",
    "clone",
    "cloned",
    "collect",
    "contains",
    "copied",
    "deref",
    "device",
    "devices",
    "dims",
    "dtype",
    "enumerate",
    "err",
    "expect",
    "extend",
    "first",
    "get",
    "get_mut",
    "inner",
    "insert",
    "into",
    "into_inner",
    "into_iter",
    "is_empty",
    "iter",
    "iter_mut",
    "last",
    "len",
    "num_elements",
    "ok",
    "pass",
    "pop",
    "push",
    "rank",
    "rev",
    "shape",
    "to_owned",
    "to_string",
    "to_vec",
    "try_into",
    "unwrap",
    "unwrap_or",
    "unwrap_or_default",
    "val",
    "zip",
];

/// Functions of a type that make one of its values from what is no operand.
const CONSTRUCTORS: &[&str] = &[
    "arange",
    "arange_step",
    "default",
    "empty",
    "eye",
    "from",
    "full",
    "new",
    "ones",
    "random",
    "tril_mask",
    "triu_mask",
    "try_from",
    "with_capacity",
    "zeros",
];

/// The methods with which a module is called.
const CALLING: &[&str] = &["call", "forward"];

/// The methods that take a tensor by value, and that no method of the standard library by reference
/// has the name of: of these, what they are called on is an operand.
const OF_TENSORS: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "add",
    "add_scalar",
    "all",
    "all_dim",
    "any",
    "any_dim",
    "argmax",
    "argmin",
    "argsort",
    "argsort_descending",
    "argtopk",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bool",
    "bool_and",
    "bool_not",
    "bool_or",
    "bool_xor",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "cov",
    "cross",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "deg2rad",
    "detach",
    "div",
    "div_scalar",
    "dot",
    "equal",
    "equal_elem",
    "erf",
    "exp",
    "expand",
    "flatten",
    "flip",
    "float",
    "floor",
    "fmod",
    "fmod_scalar",
    "gather",
    "greater",
    "greater_elem",
    "greater_equal",
    "greater_equal_elem",
    "hypot",
    "int",
    "is_close",
    "is_finite",
    "is_inf",
    "is_nan",
    "log",
    "log1p",
    "lower",
    "lower_elem",
    "lower_equal",
    "lower_equal_elem",
    "mask_fill",
    "mask_where",
    "matmul",
    "max",
    "max_abs",
    "max_abs_dim",
    "max_dim",
    "max_pair",
    "mean",
    "mean_dim",
    "mean_dims",
    "median",
    "min",
    "min_dim",
    "min_pair",
    "movedim",
    "mul",
    "mul_scalar",
    "narrow",
    "neg",
    "not_equal",
    "not_equal_elem",
    "one_hot",
    "pad",
    "permute",
    "powf",
    "powf_scalar",
    "powi",
    "powi_scalar",
    "prod",
    "prod_dim",
    "rad2deg",
    "recip",
    "rem",
    "remainder",
    "remainder_scalar",
    "reshape",
    "roll",
    "roll_dim",
    "round",
    "select",
    "sign",
    "sin",
    "sinh",
    "slice_assign",
    "slice_dim",
    "slice_fill",
    "sqrt",
    "square",
    "squeeze",
    "squeeze_dim",
    "squeeze_dims",
    "sub",
    "sub_scalar",
    "sum",
    "sum_dim",
    "sum_dims",
    "swap_dims",
    "tan",
    "tanh",
    "topk",
    "transpose",
    "tril",
    "triu",
    "trunc",
    "unsqueeze",
    "unsqueeze_dim",
    "unsqueeze_dims",
    "var",
    "var_bias",
    "var_mean",
];

/// What an operation is called, and how its source writes what it calls.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) written: String,
}

/// Names a call of a function; nothing if it is no operation.
pub(crate) fn of_function(call: &ExprCall) -> Option<Named> {
    if let Expr::Path(function) = &*call.func {
        let segments = &function.path.segments;
        let name = segments.last()?.ident.to_string();
        let is_of_type = segments.len() > 1 || function.qself.is_some();
        let makes_one = |name: &str| {
            CONSTRUCTORS.contains(&name) || name.starts_with("from_") || name.starts_with("with_")
        };
        let is_variant = name.starts_with(char::is_uppercase);
        if is_variant || (is_of_type && makes_one(&name)) || name == "drop" {
            return None;
        }
        let written = segments.iter().map(|segment| segment.ident.to_string());
        let written = written.collect::<Vec<_>>().join("::");
        return Some(Named { name, written });
    }
    // A field that is a function.
    let name = place_name(&call.func)?;
    let written = compact(&call.func);
    Some(Named { name, written })
}

/// Names a call of a method; nothing if it is no operation.
pub(crate) fn of_method(call: &ExprMethodCall) -> Option<Named> {
    let method = call.method.to_string();
    if PLUMBING.contains(&&*method) {
        return None;
    }
    if calls_module(call)
        && let Some(name) = place_name(&call.receiver)
    {
        let written = compact(&call.receiver);
        return Some(Named { name, written });
    }
    Some(Named {
        name: method.clone(),
        written: method,
    })
}

/// Returns whether this is how a module is called.
pub(crate) fn calls_module(call: &ExprMethodCall) -> bool {
    CALLING.contains(&&*call.method.to_string())
}

/// Returns whether what the method is called on is an operand.
pub(crate) fn takes_tensor(call: &ExprMethodCall) -> bool {
    OF_TENSORS.contains(&&*call.method.to_string())
}

/// Names the place of a module: `self_fc` for `self.fc`, and `self_layers` for `self.layers[0]`.
fn place_name(place: &Expr) -> Option<String> {
    match place {
        Expr::Path(path) => {
            let ident = path.path.get_ident()?;
            (ident != "self").then(|| ident.to_string())
        }
        Expr::Field(field) => {
            let member = match &field.member {
                Member::Named(name) => name.to_string(),
                Member::Unnamed(index) => index.index.to_string(),
            };
            match &*field.base {
                Expr::Path(path) if path.path.is_ident("self") => Some(format!("self_{member}")),
                base => Some(format!("{}_{member}", place_name(base)?)),
            }
        }
        Expr::Index(index) => place_name(&index.expr),
        Expr::Paren(paren) => place_name(&paren.expr),
        Expr::Group(group) => place_name(&group.expr),
        Expr::Reference(reference) => place_name(&reference.expr),
        Expr::MethodCall(call) if PLUMBING.contains(&&*call.method.to_string()) => {
            place_name(&call.receiver)
        }
        _ => None,
    }
}

/// Writes an expression without spaces.
fn compact(expr: &Expr) -> String {
    fn write(tokens: proc_macro2::TokenStream, text: &mut String) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                        proc_macro2::Delimiter::Bracket => ("[", "]"),
                        proc_macro2::Delimiter::Brace => ("{", "}"),
                        proc_macro2::Delimiter::None => ("", ""),
                    };
                    text.push_str(open);
                    write(group.stream(), text);
                    text.push_str(close);
                }
                tree => text.push_str(&tree.to_string()),
            }
        }
    }
    let mut text = String::new();
    write(expr.to_token_stream(), &mut text);
    text
}
