//! Ports, points and sites: the places at which a value passes.
//!
//! A **path** names a module (`layers.3.attn`), a [`Port`] one side of it, a [`Point`] is the two
//! together (`layers.3.attn.output`, what other tools call a hook point), and a [`Site`] is one
//! passing of a point in one run (`layers.3.attn.output.i0`). Paths are interned when a model is
//! bound, so that all of these are integers at run time; [`SiteMap`](crate::SiteMap) turns them
//! back into text.

use std::fmt;

/// The side of a module, or of an operation inside it, at which a value passes.
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
    /// The gradient of the module's output, in the backward pass.
    Grad = 3,
}

impl Port {
    /// Every port, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Input, Self::Output, Self::Fn, Self::Grad];

    /// Returns the port's name as it is written in a site.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Fn => "fn",
            Self::Grad => "grad",
        }
    }

    /// Returns the port that is written `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|port| port.name() == name)
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

    /// Returns the point's place in a dense table with [`Port::ALL`] entries for each path.
    pub const fn index(self) -> usize {
        self.path.0 as usize * Port::ALL.len() + self.port as usize
    }
}

/// One visit of a point in one run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Site {
    /// The hook point.
    pub point: Point,
    /// How often the point was passed before in this run.
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
    fn point_indices_are_dense() {
        let indices: Vec<usize> = (0..3)
            .flat_map(|path| Port::ALL.map(|port| Point::new(PathId(path), port).index()))
            .collect();
        assert_eq!(indices, (0..12).collect::<Vec<_>>());
    }
}
