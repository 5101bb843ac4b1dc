//! One call, and what takes its place.
//!
//! A call that takes operands, and what it is computed of is clear from its syntax, becomes this,
//! for `scores.mask_fill(future.expand(shape), MASKED)`:
//!
//! ```text
//! match (future.expand(shape),) { (operand_1,) => {
//!     let operation = source.operation(4);
//!     if !operation.is_running() {
//!         operation.same(scores.mask_fill(operand_1, MASKED))
//!     } else {
//!         let passing = operation.passing();
//!         let mut call = passing.enter("mask_fill");
//!         let held_0 = operation.operand(&scores).hold(&mut call, scores);
//!         ...
//!         match call.input() {
//!             Some(output) => passing.leave_with(call, output),
//!             None => {
//!                 let output = held_0.take(&mut call).mask_fill(held_1.take(&mut call), ..);
//!                 passing.leave(call, output)
//!             }
//!         }
//!     }
//! } }
//! ```
//!
//! Any other call becomes this:
//!
//! ```text
//! match layers.iter().fold(x, |x, layer| ..) { output => {
//!     let operation = source.operation(5);
//!     if !operation.is_running() {
//!         operation.same(output)
//!     } else {
//!         operation.passing().pass(output)
//!     }
//! } }
//! ```
//!
//! The call as it was comes first, so that whoever infers types knows all of them before
//! `operand` and `passing` ask whether they can pass a site: for types that cannot, these have
//! methods of the same names that do nothing. A `match` keeps what is borrowed until the end of the
//! statement, as the call did.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Ident, Lit, UnOp};

use crate::names::{self, Named};

/// What is to be done about a call.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) named: Named,
    /// What the call is computed of, the receiver of a method first; nothing if only what comes
    /// out passes a site.
    parts: Option<Vec<Part>>,
}

/// What is done with a part of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// It stays where it is: it has no effect, and cannot be an operand.
    Stays,
    /// It is the place of an operand, from which the call takes it.
    Place,
    /// It is computed beforehand, and may be an operand.
    Operand,
    /// It is computed beforehand.
    Computed,
    /// It is computed beforehand, and the call borrows it.
    Borrowed,
}

impl Plan {
    /// Returns what is to be done about an expression, if it is a call that is an operation.
    pub(crate) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Call(call) if call.attrs.is_empty() => {
                let parts = call.args.iter().map(argument).collect();
                Some(Self {
                    named: names::of_function(call)?,
                    parts: is_pure(&call.func).then_some(parts).flatten(),
                })
            }
            Expr::MethodCall(call) if call.attrs.is_empty() => {
                let receiver = if names::takes_tensor(call) && !is_borrowed(&call.receiver) {
                    argument(&call.receiver)
                } else if is_pure(&call.receiver) {
                    Some(Part::Stays)
                } else {
                    names::calls_module(call).then_some(Part::Borrowed)
                };
                let parts = std::iter::once(receiver).chain(call.args.iter().map(argument));
                Some(Self {
                    named: names::of_method(call)?,
                    parts: parts.collect(),
                })
            }
            _ => None,
        }
    }

    /// Returns the ports of the operation.
    pub(crate) fn ports(&self) -> &'static [&'static str] {
        let is_operand = |part: &Part| matches!(part, Part::Place | Part::Operand);
        match &self.parts {
            None => &["output"],
            Some(parts) if parts.iter().any(is_operand) => &["fn", "input", "output"],
            Some(_) => &["fn", "output"],
        }
    }
}

/// Returns what is done with an argument; nothing if the call has to be left as it is for it.
fn argument(expr: &Expr) -> Option<Part> {
    match expr {
        Expr::Paren(paren) => argument(&paren.expr),
        Expr::Group(group) => argument(&group.expr),
        Expr::Lit(literal) if matches!(literal.lit, Lit::Float(_)) => Some(Part::Operand),
        Expr::Path(path) => Some(match path.path.get_ident() {
            Some(name) if name != "self" => Part::Place,
            _ => Part::Stays,
        }),
        Expr::Field(field) if is_pure(&field.base) => Some(Part::Place),
        Expr::Unary(unary) => Some(match (&unary.op, &*unary.expr) {
            (UnOp::Neg(_), Expr::Lit(literal)) if matches!(literal.lit, Lit::Int(_)) => Part::Stays,
            _ => Part::Operand,
        }),
        Expr::Binary(binary) if !is_assignment(&binary.op) => Some(Part::Operand),
        Expr::Call(_)
        | Expr::Cast(_)
        | Expr::Field(_)
        | Expr::Macro(_)
        | Expr::MethodCall(_)
        | Expr::Try(_)
        | Expr::Tuple(_) => Some(Part::Operand),
        Expr::Array(_)
        | Expr::Index(_)
        | Expr::Lit(_)
        | Expr::Range(_)
        | Expr::Reference(_)
        | Expr::Repeat(_)
        | Expr::Struct(_) => Some(if is_pure(expr) {
            Part::Stays
        } else {
            Part::Computed
        }),
        // What is expected of a closure, or of the arms of a condition, is known at the call only.
        _ => None,
    }
}

/// Returns whether what is there cannot be moved from there, so that a method that takes it by
/// value copies it.
fn is_borrowed(place: &Expr) -> bool {
    match place {
        Expr::Path(path) => path.path.is_ident("self"),
        Expr::Field(field) => is_borrowed(&field.base),
        Expr::Index(_) => true,
        Expr::Unary(unary) => matches!(unary.op, UnOp::Deref(_)),
        Expr::Paren(paren) => is_borrowed(&paren.expr),
        Expr::Group(group) => is_borrowed(&group.expr),
        _ => false,
    }
}

/// Returns whether it makes no difference when, and how often, an expression is computed.
fn is_pure(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) | Expr::Path(_) => true,
        Expr::Array(array) => array.elems.iter().all(is_pure),
        Expr::Binary(binary) => {
            !is_assignment(&binary.op) && is_pure(&binary.left) && is_pure(&binary.right)
        }
        Expr::Cast(cast) => is_pure(&cast.expr),
        Expr::Field(field) => is_pure(&field.base),
        Expr::Group(group) => is_pure(&group.expr),
        Expr::Index(index) => is_pure(&index.expr) && is_pure(&index.index),
        Expr::Paren(paren) => is_pure(&paren.expr),
        Expr::Range(range) => {
            let mut ends = range.start.iter().chain(&range.end);
            ends.all(|end| is_pure(end))
        }
        Expr::Reference(reference) => is_pure(&reference.expr),
        Expr::Repeat(repeat) => is_pure(&repeat.expr),
        Expr::Struct(whole) => {
            let mut exprs = whole
                .fields
                .iter()
                .map(|field| &field.expr)
                .chain(whole.rest.as_deref());
            exprs.all(is_pure)
        }
        Expr::Tuple(tuple) => tuple.elems.iter().all(is_pure),
        Expr::Unary(unary) => is_pure(&unary.expr),
        _ => false,
    }
}

fn is_assignment(op: &syn::BinOp) -> bool {
    op.to_token_stream().to_string().ends_with('=')
        && !matches!(
            op,
            syn::BinOp::Eq(_) | syn::BinOp::Ne(_) | syn::BinOp::Le(_) | syn::BinOp::Ge(_)
        )
}

/// Writes what takes the place of a call, whose parts have their sites already.
pub(crate) fn with_sites(call: Expr, plan: &Plan, index: u32, source: &Ident) -> Expr {
    let spans = Spans {
        call: match &call {
            Expr::MethodCall(call) => call.method.span(),
            call => call.span(),
        },
    };
    let tokens = match &plan.parts {
        Some(parts) => spans.whole(&call, (parts, &plan.named.written), index, source),
        None => spans.output(&call, index, source),
    };
    // In parentheses, for a statement may begin with it.
    Expr::Paren(syn::ExprParen {
        attrs: Vec::new(),
        paren_token: syn::token::Paren(spans.here()),
        expr: Box::new(Expr::Verbatim(tokens)),
    })
}

/// Where what is written is said to stand: at the call, and what stands for an argument at the
/// argument. It has names of its own.
struct Spans {
    call: Span,
}

impl Spans {
    fn here(&self) -> Span {
        Span::mixed_site().located_at(self.call)
    }

    fn ident(&self, name: &str) -> Ident {
        Ident::new(name, self.here())
    }

    fn output(&self, call: &Expr, index: u32, source: &Ident) -> TokenStream {
        let [operation, output] = ["operation", "output"].map(|name| self.ident(name));
        quote_spanned! {self.here()=>
            match #call {
                #output => {
                    let #operation = #source.operation(#index);
                    if !#operation.is_running() {
                        #operation.same(#output)
                    } else {
                        #operation.passing().pass(#output)
                    }
                }
            }
        }
    }

    fn whole(
        &self,
        call: &Expr,
        (parts, written): (&[Part], &str),
        index: u32,
        source: &Ident,
    ) -> TokenStream {
        let here = self.here();
        let [operation, passing, entered, output] =
            ["operation", "passing", "call", "output"].map(|name| self.ident(name));
        let mut computed = Vec::new();
        let mut holds = Vec::new();
        let mut plain = call.clone();
        let mut held = call.clone();
        let places = exprs_of(&mut plain).into_iter().zip(exprs_of(&mut held));
        for (number, (part, (plain, held))) in parts.iter().zip(places).enumerate() {
            let there = Span::mixed_site().located_at(plain.span());
            let variable = format_ident!("operand_{number}", span = there);
            let holder = format_ident!("held_{number}", span = there);
            if matches!(part, Part::Operand | Part::Computed | Part::Borrowed) {
                let value = match part {
                    Part::Borrowed => quote_spanned!(there=> &#plain),
                    _ => quote!(#plain),
                };
                computed.push((variable.clone(), value));
                *plain = verbatim(quote!(#variable));
                *held = plain.clone();
            }
            if matches!(part, Part::Operand | Part::Place) {
                holds.push(quote_spanned! {there=>
                    let #holder = #operation.operand(&#held).hold(&mut #entered, #held);
                });
                *held = verbatim(quote_spanned!(there=> #holder.take(&mut #entered)));
            }
        }
        let body = quote_spanned! {here=>
            let #operation = #source.operation(#index);
            if !#operation.is_running() {
                #operation.same(#plain)
            } else {
                let #passing = #operation.passing();
                let mut #entered = #passing.enter(#written);
                #(#holds)*
                match #entered.input() {
                    ::core::option::Option::Some(#output) => #passing.leave_with(#entered, #output),
                    ::core::option::Option::None => {
                        let #output = #held;
                        #passing.leave(#entered, #output)
                    }
                }
            }
        };
        let (variables, values): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
        quote_spanned! {here=>
            match (#(#values,)*) { (#(#variables,)*) => { #body } }
        }
    }
}

/// The parts of a call: the receiver of a method, and the arguments.
fn exprs_of(call: &mut Expr) -> Vec<&mut Expr> {
    match call {
        Expr::Call(call) => call.args.iter_mut().collect(),
        Expr::MethodCall(call) => {
            let receiver: &mut Expr = &mut call.receiver;
            std::iter::once(receiver).chain(&mut call.args).collect()
        }
        _ => Vec::new(),
    }
}

fn verbatim(tokens: TokenStream) -> Expr {
    Expr::Verbatim(tokens)
}
