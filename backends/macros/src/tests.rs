//! What becomes of an `impl` block.

use proc_macro2::TokenStream;
use quote::quote;

use crate::block::expand;

fn expanded(block: TokenStream) -> String {
    expand(TokenStream::new(), block).to_string()
}

/// The operations of a function with this body, each with its ports.
fn listed(body: TokenStream) -> String {
    let expanded = expanded(quote! { impl Block { fn forward(&self, x: Tensor<2>) { #body } } });
    let (_, list) = expanded.split_once("= & [(").unwrap_or(("", ""));
    let quoted: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let mut listed = String::new();
    for text in quoted {
        let is_port = ["fn", "input", "output"].contains(&text);
        listed.push_str(if is_port || listed.is_empty() {
            " "
        } else {
            ", "
        });
        listed.push_str(text);
    }
    listed.trim_start().to_owned()
}

#[test]
fn r90_calls_are_named_and_numbered_in_the_order_in_which_they_are_computed() {
    let cases = [
        (quote!(self.fc.forward(x)), "self_fc fn input output"),
        (quote!(layer.forward(x)), "layer fn input output"),
        (
            quote!(self.layers[0].forward(x)),
            "self_layers fn input output",
        ),
        (
            quote!(self.block.inner().fc.forward(x)),
            "self_block_fc fn input output",
        ),
        (quote!(self.forward(x)), "forward fn input output"),
        (
            quote!(make(x).forward(y)),
            "make fn input output, forward fn input output",
        ),
        (quote!((self.act)(x)), "self_act fn input output"),
        (quote!(activation::softmax(x, 1)), "softmax fn input output"),
        (quote!(Self::step(x)), "step fn input output"),
        (quote!(x.mul_scalar(0.5)), "mul_scalar fn input output"),
        (quote!(x.powi_scalar(2)), "powi_scalar fn input output"),
        (quote!(Tensor::cat(vec![a, b], 0)), "cat fn input output"),
        (quote!(pick(&x)), "pick fn output"),
        (quote!(x.own(0)), "own fn output"),
        (quote!(x.map(|x| f(x))), "f fn input output, map output"),
        (quote!(choose(if a { b } else { c })), "choose output"),
        (
            quote!(x.clone().matmul(x.transpose())),
            "transpose fn input output, matmul fn input output",
        ),
    ];
    for (body, expected) in cases {
        let text = body.to_string();
        let mut listed = listed(body);
        listed = listed.replace("_0 ", " ");
        assert_eq!(listed, expected, "{text}");
    }
    let nested = quote! {
        let y = f(f(x), g(f(y)));
        for layer in &self.layers { y = f(layer.forward(y)); }
    };
    let names = listed(nested).replace(" fn input output", "");
    assert_eq!(names, "f_0, f_1, g_0, f_2, layer_0, f_3");
}

#[test]
fn what_computes_nothing_is_no_operation() {
    let body = quote! {
        let [rows, _] = x.clone().dims();
        let y = Tensor::<2>::zeros([rows, 1], &x.device());
        let z = Some(Tensor::from_data(data, &x.device())).unwrap();
        let w = vec![Vec::new(), Linear::new(4)];
        fn inner() -> f64 { f(1.0) }
        const WIDTH: usize = width();
        let all = [0; count()];
        self.tap.pass(self.weight.val()) + checked!(f(z))
    };
    assert_eq!(listed(body), "");
}

#[test]
fn a_call_is_there_as_it_was_and_with_its_sites() {
    let block = quote! {
        impl Block {
            fn forward(&self, x: Tensor<2>) -> Tensor<2> { self.fc.forward(x.clone()).mask_fill(mask, 0.0) }
            fn count(&mut self) -> usize { f(self) }
        }
    };
    insta::assert_snapshot!(expanded(block), @r#"impl Block { fn forward (& self , x : Tensor < 2 >) -> Tensor < 2 > { let source = & self . source ; (match ((match (x . clone () ,) { (operand_1 ,) => { let operation = source . operation (0u32) ; if ! operation . is_running () { operation . same (self . fc . forward (operand_1)) } else { let passing = operation . passing () ; let mut call = passing . enter ("self.fc") ; let held_1 = operation . operand (& operand_1) . hold (& mut call , operand_1) ; match call . input () { :: core :: option :: Option :: Some (output) => passing . leave_with (call , output) , :: core :: option :: Option :: None => { let output = self . fc . forward (held_1 . take (& mut call)) ; passing . leave (call , output) } } } } }) , 0.0 ,) { (operand_0 , operand_2 ,) => { let operation = source . operation (1u32) ; if ! operation . is_running () { operation . same (operand_0 . mask_fill (mask , operand_2)) } else { let passing = operation . passing () ; let mut call = passing . enter ("mask_fill") ; let held_0 = operation . operand (& operand_0) . hold (& mut call , operand_0) ; let held_1 = operation . operand (& mask) . hold (& mut call , mask) ; let held_2 = operation . operand (& operand_2) . hold (& mut call , operand_2) ; match call . input () { :: core :: option :: Option :: Some (output) => passing . leave_with (call , output) , :: core :: option :: Option :: None => { let output = held_0 . take (& mut call) . mask_fill (held_1 . take (& mut call) , held_2 . take (& mut call)) ; passing . leave (call , output) } } } } }) } fn count (& mut self) -> usize { f (self) } } impl < > Block where { # [doc = r" The operations of the forward function, in order: each one's name, and its ports."] pub (crate) const OPERATIONS : & 'static [(& 'static :: core :: primitive :: str , & 'static [& 'static :: core :: primitive :: str] ,)] = & [("self_fc_0" , & ["fn" , "input" , "output"]) , ("mask_fill_0" , & ["fn" , "input" , "output"])] ; }"#);
    let block = quote!(impl Block { fn forward(&self) -> T { f(|x| x) } });
    insta::assert_snapshot!(expanded(block), @r#"impl Block { fn forward (& self) -> T { let source = & self . source ; (match f (| x | x) { output => { let operation = source . operation (0u32) ; if ! operation . is_running () { operation . same (output) } else { operation . passing () . pass (output) } } }) } } impl < > Block where { # [doc = r" The operations of the forward function, in order: each one's name, and its ports."] pub (crate) const OPERATIONS : & 'static [(& 'static :: core :: primitive :: str , & 'static [& 'static :: core :: primitive :: str] ,)] = & [("f_0" , & ["output"])] ; }"#);
}

#[test]
fn the_list_has_the_parameters_of_the_type_and_no_others() {
    let block = quote! {
        #[cfg(feature = "a")]
        impl<'a, I, T: Copy, const N: usize> Forward<I> for Block<'a, T, N>
        where I: Into<f64>, T: Fn(f64) -> f64 {
            type Output = f64;
            fn forward(&self, i: I) -> f64 { f(i) }
        }
    };
    let expanded = expanded(block);
    let expected = "# [cfg (feature = \"a\")] impl < 'a , T : Copy , const N : usize > \
                    Block < 'a , T , N > where T : Fn (f64) -> f64 {";
    assert!(expanded.contains(expected), "{expanded}");
}

#[test]
fn what_is_no_impl_block_with_calls_is_refused() {
    let cases = [
        (
            quote!(),
            quote!(
                fn f() {}
            ),
            "stands before an `impl` block",
        ),
        (
            quote!(all),
            quote!(impl A { fn f(&self) { g(1.0) } }),
            "takes no arguments",
        ),
        (
            quote!(),
            quote!(impl A { fn f(self) { g(1.0) } }),
            "no call here can be a site",
        ),
    ];
    for (arguments, block, expected) in cases {
        let expanded = expand(arguments, block.clone()).to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
        assert!(expanded.contains(expected), "{expanded}");
        // What is there stays, so that nothing else is said about it.
        assert!(expanded.ends_with(&block.to_string()), "{expanded}");
    }
}
