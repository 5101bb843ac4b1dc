//! Completes the names of sites from what a model has.

use std::collections::BTreeSet;

use interloom_engine::SiteMap;
use interloom_program::{Action, Expr, Program, ProgramStep};

/// Writes the port that is meant where a program names a module: its output, or for a skip its
/// input; of a gradient it is the output, too. A parameter has no port.
///
/// A name that the model does not have either way is completed too, so that the nearest names are
/// looked for among whole names; names of hooks have no ports and stay as they are. A number that
/// is written to a site becomes a value of that number in every place. Returns the names of the
/// given values that the program uses.
pub(in crate::experiment) fn resolve(program: &mut Program, map: &SiteMap) -> BTreeSet<String> {
    let mut resolver = Resolver {
        map,
        givens: BTreeSet::new(),
    };
    resolver.steps(&mut program.steps);
    resolver.givens
}

struct Resolver<'m> {
    map: &'m SiteMap,
    givens: BTreeSet<String>,
}

impl Resolver<'_> {
    fn steps(&mut self, steps: &mut [ProgramStep]) {
        for step in steps {
            self.action(&mut step.action);
        }
    }

    fn action(&mut self, action: &mut Action) {
        match action {
            Action::Write { site, value, .. } => {
                self.site(site, "output");
                if is_number(value) {
                    // The site's own value says of what shape.
                    let now = Expr::Read(site.clone());
                    *value = Expr::ZerosLike(now.into()) + value.clone();
                }
            }
            Action::Skip { site, .. } => self.site(site, "input"),
            _ => {}
        }
        for value in action.values_mut() {
            self.value(value);
        }
        for body in action.bodies_mut() {
            self.steps(body);
        }
    }

    fn value(&mut self, value: &mut Expr) {
        match value {
            Expr::Read(site) => self.site(site, "output"),
            Expr::Given(name) => {
                self.givens.insert(name.clone());
            }
            _ => {}
        }
        for operand in value.operands_mut() {
            self.value(operand);
        }
    }

    fn site(&self, name: &mut String, port: &str) {
        const PORTS: [&str; 3] = ["input", "output", "fn"];
        let (point, iteration) = split_iteration(name);
        let (path, port, gradient) = match point.strip_suffix(".grad") {
            Some(path) => (path, "output", ".grad"),
            None => (point, port, ""),
        };
        let last = path.rsplit('.').next().unwrap_or(path);
        let value = format!("{path}{iteration}");
        let is_parameter = !gradient.is_empty() && self.map.parameter(path).is_some();
        let is_whole = is_parameter || self.map.site(&value).is_some() || PORTS.contains(&last);
        if !is_whole && !last.starts_with("hook_") {
            *name = format!("{path}.{port}{gradient}{iteration}");
        }
    }
}

/// Returns whether this is a number, whatever happens.
fn is_number(value: &Expr) -> bool {
    match value {
        Expr::Number(_) => true,
        Expr::Add(left, right)
        | Expr::Sub(left, right)
        | Expr::Mul(left, right)
        | Expr::Div(left, right) => is_number(left) && is_number(right),
        _ => false,
    }
}

/// Splits `layers.3.attn.i2` into the path and `.i2`.
pub(super) fn split_iteration(name: &str) -> (&str, &str) {
    let place = name.rfind(".i");
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match place {
        Some(place) if is_number(&name[place + 2..]) => name.split_at(place),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interloom_engine::Port;

    #[test]
    fn ports_are_completed_where_a_module_is_named() {
        let mut map = SiteMap::new();
        map.add("", &[Port::Input, Port::Output]);
        map.add("layers.0.attn", &[Port::Input, Port::Output]);
        let point = map.point("layers.0.attn.output").unwrap();
        map.alias("blocks.0.hook_attn_out", point);
        map.add_parameter("layers.0.attn.weight");
        let resolver = Resolver {
            map: &map,
            givens: BTreeSet::new(),
        };
        for (name, port, resolved) in [
            ("layers.0.attn", "output", "layers.0.attn.output"),
            ("layers.0.attn", "input", "layers.0.attn.input"),
            ("layers.0.attn.i2", "output", "layers.0.attn.output.i2"),
            ("layers.0.attn.input.i2", "output", "layers.0.attn.input.i2"),
            ("layers.0.atn", "output", "layers.0.atn.output"),
            ("blocks.0.hook_attn_out", "input", "blocks.0.hook_attn_out"),
            ("blocks.0.hook_atn_out", "output", "blocks.0.hook_atn_out"),
            ("output", "output", "output"),
            ("input.i1", "output", "input.i1"),
            ("layers.0.attn.grad", "output", "layers.0.attn.output.grad"),
            ("layers.0.attn.grad", "input", "layers.0.attn.output.grad"),
            (
                "layers.0.attn.grad.i2",
                "output",
                "layers.0.attn.output.grad.i2",
            ),
            (
                "layers.0.attn.input.grad",
                "output",
                "layers.0.attn.input.grad",
            ),
            ("layers.0.atn.grad", "output", "layers.0.atn.output.grad"),
            (
                "blocks.0.hook_attn_out.grad",
                "output",
                "blocks.0.hook_attn_out.grad",
            ),
            (
                "blocks.0.hook_atn_out.grad",
                "output",
                "blocks.0.hook_atn_out.grad",
            ),
            ("output.grad", "output", "output.grad"),
            (
                "layers.0.attn.weight.grad.i1",
                "output",
                "layers.0.attn.weight.grad.i1",
            ),
            (
                "layers.0.attn.weight",
                "output",
                "layers.0.attn.weight.output",
            ),
            ("input.grad.i1", "output", "input.grad.i1"),
        ] {
            let mut name = name.to_owned();
            resolver.site(&mut name, port);
            assert_eq!(name, resolved);
        }
    }
}
