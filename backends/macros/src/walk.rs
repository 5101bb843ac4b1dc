//! The way through a function, in the order in which it is computed.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Block, Expr, Ident, Stmt};

use crate::call::{self, Plan};

/// What has been found so far.
#[derive(Default)]
pub(crate) struct Walk {
    /// The operations, each as an item of the list of them.
    pub(crate) operations: Vec<TokenStream>,
    counts: BTreeMap<String, usize>,
}

impl Walk {
    /// The variable through which the operations of a function pass their sites.
    pub(crate) fn source(&self) -> Ident {
        Ident::new("source", Span::mixed_site())
    }

    pub(crate) fn block(&mut self, block: &mut Block) {
        for statement in &mut block.stmts {
            match statement {
                Stmt::Local(local) => {
                    if let Some(init) = &mut local.init {
                        self.expr(&mut init.expr);
                        if let Some((_, diverge)) = &mut init.diverge {
                            self.expr(diverge);
                        }
                    }
                }
                Stmt::Expr(expr, _) => self.expr(expr),
                // Items are no part of the function, and what macros do is not known.
                Stmt::Item(_) | Stmt::Macro(_) => {}
            }
        }
    }

    /// Goes through an expression, and gives the calls in it sites.
    fn expr(&mut self, expr: &mut Expr) {
        // What is where is known of the expression as it is written only.
        let plan = Plan::of(expr);
        self.inside(expr);
        if let Some(plan) = plan {
            let index = self.operations.len() as u32;
            let name = plan.named.name.trim_start_matches("r#");
            let count = self.counts.entry(name.to_owned()).or_default();
            let (name, ports) = (format!("{name}_{count}"), plan.ports());
            *count += 1;
            self.operations.push(quote!((#name, &[#(#ports),*])));
            *expr = call::with_sites(expr.clone(), &plan, index, &self.source());
        }
    }

    /// Goes through the parts of an expression that are computed with it.
    fn inside(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Array(array) => self.all(&mut array.elems),
            Expr::Assign(assign) => {
                self.expr(&mut assign.right);
                self.place(&mut assign.left);
            }
            Expr::Binary(binary) => {
                self.expr(&mut binary.left);
                self.expr(&mut binary.right);
            }
            Expr::Block(block) => self.block(&mut block.block),
            Expr::Break(exit) => self.option(&mut exit.expr),
            Expr::Call(call) => {
                self.place(&mut call.func);
                self.all(&mut call.args);
            }
            Expr::Cast(cast) => self.expr(&mut cast.expr),
            Expr::Closure(closure) if closure.asyncness.is_none() => self.expr(&mut closure.body),
            Expr::Field(field) => self.expr(&mut field.base),
            Expr::ForLoop(each) => {
                self.expr(&mut each.expr);
                self.block(&mut each.body);
            }
            Expr::Group(group) => self.expr(&mut group.expr),
            Expr::If(branch) => {
                self.expr(&mut branch.cond);
                self.block(&mut branch.then_branch);
                if let Some((_, other)) = &mut branch.else_branch {
                    self.expr(other);
                }
            }
            Expr::Index(index) => {
                self.expr(&mut index.expr);
                self.expr(&mut index.index);
            }
            Expr::Let(condition) => self.expr(&mut condition.expr),
            Expr::Loop(forever) => self.block(&mut forever.body),
            Expr::Match(choice) => {
                self.expr(&mut choice.expr);
                choice
                    .arms
                    .iter_mut()
                    .for_each(|arm| self.expr(&mut arm.body));
            }
            Expr::MethodCall(call) => {
                self.expr(&mut call.receiver);
                self.all(&mut call.args);
            }
            Expr::Paren(paren) => self.expr(&mut paren.expr),
            Expr::Range(range) => {
                self.option(&mut range.start);
                self.option(&mut range.end);
            }
            Expr::Reference(reference) => self.expr(&mut reference.expr),
            // The length is a constant.
            Expr::Repeat(repeat) => self.expr(&mut repeat.expr),
            Expr::Return(exit) => self.option(&mut exit.expr),
            Expr::Struct(whole) => {
                whole
                    .fields
                    .iter_mut()
                    .for_each(|field| self.expr(&mut field.expr));
                self.option(&mut whole.rest);
            }
            Expr::Try(question) => self.expr(&mut question.expr),
            Expr::Tuple(tuple) => self.all(&mut tuple.elems),
            Expr::Unary(unary) => self.expr(&mut unary.expr),
            Expr::Unsafe(unsafe_) => self.block(&mut unsafe_.block),
            Expr::While(repeated) => {
                self.expr(&mut repeated.cond);
                self.block(&mut repeated.body);
            }
            // Constants, macros and what is computed at another time.
            _ => {}
        }
    }

    /// Goes through what an expression is computed with, and leaves the expression itself.
    fn place(&mut self, expr: &mut Expr) {
        self.inside(expr);
    }

    fn all<P>(&mut self, exprs: &mut syn::punctuated::Punctuated<Expr, P>) {
        exprs.iter_mut().for_each(|expr| self.expr(expr));
    }

    fn option(&mut self, expr: &mut Option<Box<Expr>>) {
        if let Some(expr) = expr {
            self.expr(expr);
        }
    }
}
