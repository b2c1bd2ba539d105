//! One walk over the layers of a network that hold weights.
//!
//! burn's visitors see parameters and not the layers that they belong to, and a layer's packed form
//! is no parameter. Here each part of a network says what its fields are, and the compiler sees to it
//! that none is forgotten: `layers!` takes a struct or an enum apart without "and the rest".

use crate::layers::{BatchNorm, Conv2d, Embedding, Gap, GroupNorm, LayerNorm, Linear, RmsNorm};
use crate::params::Path;

/// A layer whose weight kernels can have in a form of their own.
#[derive(Debug)]
pub enum Layer<'a> {
    /// y = x·Wᵀ + b.
    Linear(&'a mut Linear),
    /// A convolution.
    Conv(&'a mut Conv2d),
}

/// What is done with each layer, by the dotted path of its parameters without the last name.
pub type Visit<'a> = dyn FnMut(&str, Layer<'_>) + 'a;

/// A network or a part of one, layer by layer.
pub trait Layers {
    /// Every linear layer and convolution, in the order of the fields. `path` leads to this part.
    fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>);

    /// Every linear layer and convolution, in the order of the fields.
    fn each_layer(&mut self, visit: &mut Visit<'_>) {
        self.walk(&mut Path::default(), visit);
    }
}

impl Layers for Linear {
    fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>) {
        visit(&path.join(), Layer::Linear(self));
    }
}

impl Layers for Conv2d {
    fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>) {
        visit(&path.join(), Layer::Conv(self));
    }
}

impl<T: Layers> Layers for Option<T> {
    fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>) {
        self.iter_mut().for_each(|part| part.walk(path, visit));
    }
}

impl<T: Layers> Layers for Vec<T> {
    fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>) {
        for (i, part) in self.iter_mut().enumerate() {
            path.within(&i.to_string(), |path| part.walk(path, visit));
        }
    }
}

/// Tuples, by the names of their numbers.
macro_rules! tuples {
    ($(($($part:ident $number:tt),+);)+) => {
        $(impl<$($part: Layers),+> Layers for ($($part,)+) {
            fn walk(&mut self, path: &mut Path, visit: &mut Visit<'_>) {
                $(path.within(stringify!($number), |path| self.$number.walk(path, visit));)+
            }
        })+
    };
}

tuples! {
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3, E 4);
}

/// Layers without such a weight.
macro_rules! without_weights {
    ($($name:ty),+) => {
        $(impl Layers for $name {
            fn walk(&mut self, _: &mut Path, _: &mut Visit<'_>) {}
        })+
    };
}

without_weights!(GroupNorm, LayerNorm, RmsNorm, BatchNorm, Embedding, Gap);

/// Takes a struct apart: its parts, then after a semicolon what is no part but a number or a setting.
/// Of an enum, the variants with one part each.
macro_rules! layers {
    (enum $name:ident { $($variant:ident),+ $(,)? }) => {
        impl $crate::walk::Layers for $name {
            fn walk(
                &mut self,
                path: &mut $crate::params::Path,
                visit: &mut $crate::walk::Visit<'_>,
            ) {
                match self {
                    $(Self::$variant(part) => $crate::walk::Layers::walk(part, path, visit),)+
                }
            }
        }
    };
    ($name:ident { $($part:ident),+ $(; $($setting:ident),+)? $(,)? }) => {
        impl $crate::walk::Layers for $name {
            fn walk(
                &mut self,
                path: &mut $crate::params::Path,
                visit: &mut $crate::walk::Visit<'_>,
            ) {
                let Self { $($part,)+ $($($setting: _,)+)? } = self;
                $(path.within(stringify!($part), |path| {
                    $crate::walk::Layers::walk($part, path, visit);
                });)+
            }
        }
    };
}

pub(crate) use layers;
