//! An `impl` block and its functions.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{
    FnArg, GenericParam, ImplItem, ImplItemFn, ItemImpl, Receiver, ReceiverKind, WherePredicate,
};

use crate::walk::Walk;

/// Returns the block with sites, and the list of its operations behind it; or a compile error and
/// the block as it was.
pub(crate) fn expand(arguments: TokenStream, block: TokenStream) -> TokenStream {
    let expanded = parse(arguments, block.clone()).and_then(with_sites);
    expanded.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error #block)
    })
}

fn parse(arguments: TokenStream, block: TokenStream) -> syn::Result<ItemImpl> {
    if !arguments.is_empty() {
        let message = "`#[operations]` takes no arguments";
        return Err(syn::Error::new_spanned(arguments, message));
    }
    let span = block.span();
    syn::parse2(block).map_err(|_| {
        let message = "`#[operations]` stands before an `impl` block: that of the forward \
                       function, such as `impl Forward<Tensor<2>> for Block`";
        syn::Error::new(span, message)
    })
}

fn with_sites(mut block: ItemImpl) -> syn::Result<TokenStream> {
    let mut walk = Walk::default();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            add_sites(function, &mut walk);
        }
    }
    if walk.operations.is_empty() {
        let message = "no call here can be a site: `#[operations]` gives sites to the calls in \
                       functions that take `&self`";
        return Err(syn::Error::new(block.self_ty.span(), message));
    }
    let list = list(&block, &walk);
    Ok(quote!(#block #list))
}

fn add_sites(function: &mut ImplItemFn, walk: &mut Walk) {
    let Some(receiver) = shared_self(function).cloned() else {
        return;
    };
    let before = walk.operations.len();
    walk.block(&mut function.block);
    if walk.operations.len() > before {
        let this = &receiver.self_token;
        let source = walk.source();
        // At the attribute: that is where the field is missing if it is.
        let field = syn::Ident::new("source", Span::call_site());
        let bind = syn::parse_quote_spanned!(Span::mixed_site()=> let #source = &#this.#field;);
        function.block.stmts.insert(0, bind);
    }
}

/// Returns the receiver of a function that takes `&self`.
fn shared_self(function: &ImplItemFn) -> Option<&Receiver> {
    if function.sig.constness.is_some() || function.sig.asyncness.is_some() {
        return None;
    }
    match function.sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            matches!(receiver.kind, ReceiverKind::Reference(_, _, None)).then_some(receiver)
        }
        _ => None,
    }
}

/// Writes the list of the operations, as a constant of the type.
fn list(block: &ItemImpl, walk: &Walk) -> TokenStream {
    let ty = &block.self_ty;
    let named = words(&ty.to_token_stream());
    let is_named = |parameter: &&GenericParam| match parameter {
        GenericParam::Lifetime(lifetime) => named.contains(&lifetime.lifetime.ident.to_string()),
        GenericParam::Type(ty) => named.contains(&ty.ident.to_string()),
        GenericParam::Const(constant) => named.contains(&constant.ident.to_string()),
    };
    // A parameter of the trait alone cannot be one of a block without the trait.
    let (own, others): (Vec<_>, Vec<_>) = block.generics.params.iter().partition(is_named);
    let others: Vec<String> = others.into_iter().map(parameter_name).collect();
    let is_own = |predicate: &&WherePredicate| {
        let words = words(&predicate.to_token_stream());
        !words.iter().any(|word| others.contains(word))
    };
    let clause = block.generics.where_clause.as_ref();
    let predicates = clause.into_iter().flat_map(|clause| &clause.predicates);
    let predicates = predicates.filter(is_own);
    let operations = &walk.operations;
    let cfg = block
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    quote! {
        #(#cfg)*
        impl<#(#own),*> #ty where #(#predicates),* {
            /// The operations of the forward function, in order: each one's name, and its ports.
            pub(crate) const OPERATIONS: &'static [(
                &'static ::core::primitive::str,
                &'static [&'static ::core::primitive::str],
            )] = &[#(#operations),*];
        }
    }
}

fn parameter_name(parameter: &GenericParam) -> String {
    match parameter {
        GenericParam::Lifetime(lifetime) => lifetime.lifetime.ident.to_string(),
        GenericParam::Type(ty) => ty.ident.to_string(),
        GenericParam::Const(constant) => constant.ident.to_string(),
    }
}

/// Returns every identifier in some tokens.
fn words(tokens: &TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for tree in tokens.clone() {
        match tree {
            proc_macro2::TokenTree::Ident(ident) => words.push(ident.to_string()),
            proc_macro2::TokenTree::Group(group) => words.extend(self::words(&group.stream())),
            _ => {}
        }
    }
    words
}
