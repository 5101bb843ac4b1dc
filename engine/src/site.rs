//! Ports, points and sites: the places at which a value passes.
//!
//! A **path** names a module (`layers.3.attn`), a [`Port`] one side of it, a [`Point`] is the two
//! together (`layers.3.attn.output`, what other tools call a hook point), and a [`Site`] is one
//! passing of a point in one run (`layers.3.attn.output.i0`). Paths are interned when a model is
//! bound, so that all of these are integers at run time; [`SiteMap`](crate::SiteMap) turns them
//! back into text.

use std::fmt;

/// The side of a module, or of an operation inside it, at which a value passes; or the gradient of
/// what passes there, or of a parameter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
#[non_exhaustive]
pub enum Port {
    /// The input of the module.
    Input = 0,
    /// The output of the module.
    Output = 1,
    /// The function that an operation calls.
    Fn = 2,
    /// The gradient of what goes into the module, in a backward pass.
    InputGrad = 3,
    /// The gradient of what comes out of the module, in a backward pass.
    OutputGrad = 4,
    /// The gradient of a parameter, at the end of a backward pass: the only port that one has.
    ParameterGrad = 5,
}

impl Port {
    /// Every port of a module or an operation, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::Input,
        Self::Output,
        Self::Fn,
        Self::InputGrad,
        Self::OutputGrad,
    ];

    /// The ports of a forward pass.
    pub const FORWARD: [Self; 3] = [Self::Input, Self::Output, Self::Fn];

    /// The ports of a backward pass.
    pub const GRADIENTS: [Self; 2] = [Self::InputGrad, Self::OutputGrad];

    /// Returns the port's name as it is written in a site.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Fn => "fn",
            Self::InputGrad => "input.grad",
            Self::OutputGrad => "output.grad",
            Self::ParameterGrad => "grad",
        }
    }

    /// Returns the port of a module or an operation that is written `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|port| port.name() == name)
    }

    /// Returns whether a gradient passes here, in a backward pass.
    pub const fn is_gradient(self) -> bool {
        matches!(
            self,
            Self::InputGrad | Self::OutputGrad | Self::ParameterGrad
        )
    }

    /// Returns the port of the gradient of what passes here; a function and a gradient have none.
    pub const fn gradient(self) -> Option<Self> {
        match self {
            Self::Input => Some(Self::InputGrad),
            Self::Output => Some(Self::OutputGrad),
            Self::Fn | Self::InputGrad | Self::OutputGrad | Self::ParameterGrad => None,
        }
    }

    /// Returns the port of the forward pass that this one is the gradient of, or else itself; a
    /// parameter passes nothing in the forward pass.
    pub const fn forward(self) -> Self {
        match self {
            Self::InputGrad => Self::Input,
            Self::OutputGrad => Self::Output,
            port => port,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of an interned path.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PathId(pub u32);

impl PathId {
    /// The number of the first parameter. Modules are numbered below, and parameters apart from
    /// them, so that the tables of a run have no place for each parameter.
    const FIRST_PARAMETER: u32 = 1 << 31;

    /// Returns the number of a model's `place`-th parameter.
    pub(crate) const fn parameter(place: u32) -> Self {
        Self(Self::FIRST_PARAMETER + place)
    }

    /// Returns the place among the model's parameters, if this is one.
    pub(crate) const fn parameter_place(self) -> Option<usize> {
        match self.0.checked_sub(Self::FIRST_PARAMETER) {
            Some(place) => Some(place as usize),
            None => None,
        }
    }
}

/// A path and a port: one hook point of a model.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Point {
    /// The module.
    pub path: PathId,
    /// The side of it.
    pub port: Port,
}

impl Point {
    /// Joins a path and a port.
    pub const fn new(path: PathId, port: Port) -> Self {
        Self { path, port }
    }

    /// Returns this point at its `iteration`-th visit.
    pub const fn at(self, iteration: u32) -> Site {
        Site {
            point: self,
            iteration,
        }
    }

    /// Returns the point of the gradient of what passes here, if there is one.
    pub fn gradient(self) -> Option<Self> {
        let port = self.port.gradient()?;
        Some(Self::new(self.path, port))
    }

    /// Returns the point of the gradient of what passes here, or this one if it is a gradient's.
    pub(crate) fn own_gradient(self) -> Option<Self> {
        if self.port.is_gradient() {
            Some(self)
        } else {
            self.gradient()
        }
    }

    /// Returns whether this is the gradient of a parameter.
    pub const fn is_parameter(self) -> bool {
        matches!(self.port, Port::ParameterGrad)
    }

    /// Returns the point of the forward pass that this one is the gradient of, or else itself.
    pub const fn forward(self) -> Self {
        Self::new(self.path, self.port.forward())
    }

    /// Returns the point's place in a dense table with [`Port::ALL`] entries for each path of a
    /// module; a parameter has none there.
    pub const fn index(self) -> usize {
        self.path.0 as usize * Port::ALL.len() + self.port as usize
    }

    /// Returns the point's place in a dense table that has entries only for the ports of the
    /// forward pass, or only for gradients, as this one is.
    #[inline]
    pub(crate) const fn place(self) -> usize {
        if self.port.is_gradient() {
            let first = self.path.0 as usize * Port::GRADIENTS.len();
            first + self.port as usize - Port::FORWARD.len()
        } else {
            self.forward_place()
        }
    }

    /// Returns the [place](Self::place) of a point of the forward pass.
    #[inline]
    pub(crate) const fn forward_place(self) -> usize {
        self.path.0 as usize * Port::FORWARD.len() + self.port as usize
    }
}

/// One visit of a point in one run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Site {
    /// The hook point.
    pub point: Point,
    /// How often the point was passed before in this run; of a gradient, how often its value's
    /// point was, and of a parameter's gradient, the number of the backward pass.
    pub iteration: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_round_trip() {
        for port in Port::ALL {
            assert_eq!(Port::from_name(port.name()), Some(port));
        }
        assert_eq!(Port::from_name("outputs"), None);
    }

    #[test]
    fn a_gradient_is_of_what_passes_in_the_forward_pass() {
        for port in Port::FORWARD {
            assert!(!port.is_gradient() && port.forward() == port);
            let gradient = port.gradient();
            assert!(gradient.is_none_or(|gradient| gradient.forward() == port));
        }
        assert_eq!(Port::OutputGrad.gradient(), None);
    }

    #[test]
    fn point_indices_are_dense() {
        let indices: Vec<usize> = (0..3)
            .flat_map(|path| Port::ALL.map(|port| Point::new(PathId(path), port).index()))
            .collect();
        assert_eq!(indices, (0..15).collect::<Vec<_>>());
        let places = |ports: &[Port]| -> Vec<usize> {
            let points = (0..3).flat_map(|path| ports.iter().map(move |port| (path, *port)));
            let places = points.map(|(path, port)| Point::new(PathId(path), port).place());
            places.collect()
        };
        assert_eq!(places(&Port::FORWARD), (0..9).collect::<Vec<_>>());
        assert_eq!(places(&Port::GRADIENTS), (0..6).collect::<Vec<_>>());
    }
}
