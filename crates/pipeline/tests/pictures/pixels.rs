//! Pixels against Pillow 11 and OpenCV 5: hashes of the bytes those programs gave for the same input.

use latent_pipeline::picture::{
    Grey, Picture, Region,
    blur::mask_blur,
    fill::{fill, outpaint, overlay, through},
    mask,
    resize::Filter,
};
use latent_pipeline::request::{Compat, Outpaint, ResizeMode, Size};
use proptest::prelude::*;

use crate::{HEIGHT, WIDTH, input};

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// A rectangle, and one pixel of half strength.
fn hard_mask() -> Grey {
    let mut values = vec![0; WIDTH * HEIGHT];
    for y in 6..15 {
        values[y * WIDTH + 9..y * WIDTH + 25].fill(255);
    }
    values[3 * WIDTH + 3] = 128;
    Grey::new(WIDTH, HEIGHT, values).unwrap()
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[test]
fn resizing_is_pillows() {
    use Filter::{Area, Bicubic, Bilinear, Lanczos, Nearest};
    let sizes = [(62, 46), (16, 12), (40, 9), (31, 23), (7, 50)];
    let same = 0x71b2_d063_0f6c_9164;
    let cases = [
        (
            Nearest,
            [
                0xe1ad26c125fa3031,
                0x70677c1c796217a4,
                0x1d6243cba03b6049,
                same,
                0x2bfedb6c67e15dd6,
            ],
        ),
        (
            Lanczos,
            [
                0xd247773025b08de0,
                0xbcdb8b2d09ea82c3,
                0x4bcbac84236e6aef,
                same,
                0x74c83e7e6ec62ab4,
            ],
        ),
        (
            Bilinear,
            [
                0x23654a0017022e56,
                0xfa1251c43d77b708,
                0x8ef53792a055af23,
                same,
                0xcbfde77548620193,
            ],
        ),
        (
            Bicubic,
            [
                0x688cdd2c13db1517,
                0xec746119c82309aa,
                0x9c23b023f3c1169e,
                same,
                0xb2004657dc0ad318,
            ],
        ),
        (
            Area,
            [
                0xe1ad26c125fa3031,
                0x9166a73ed1fe8d00,
                0xe0bb77fcd457c4e3,
                same,
                0xa1e3c47a52617990,
            ],
        ),
    ];
    assert_eq!(fnv(input().rgb()), same);
    for (filter, hashes) in cases {
        for ((w, h), hash) in sizes.into_iter().zip(hashes) {
            let resized = input().resize(size(w, h), filter);
            assert_eq!(fnv(resized.rgb()), hash, "{filter:?} {w}x{h}");
        }
    }
    assert_eq!(fnv(input().luma().values()), 0xcf4dedd8af0031b7);
}

#[test]
fn fitting_is_a1111s() {
    let sizes = [(64, 64), (20, 40), (33, 64), (100, 20)];
    let cases = [
        (
            ResizeMode::Crop,
            [
                0xdc1d95c9df3250e3,
                0x908e74abbb2d3dbd,
                0xc9d07576a0303cfd,
                0xe61b5ee3d5b21f07,
            ],
        ),
        (
            ResizeMode::Fill,
            [
                0x1ff8f8eeaec5f0f7,
                0xb7d0fef010b1837f,
                0x4814932d777595e6,
                0xb3e87081033f02a8,
            ],
        ),
    ];
    for (mode, hashes) in cases {
        for ((w, h), hash) in sizes.into_iter().zip(hashes) {
            let fitted = input().fit(size(w, h), mode, Filter::Lanczos);
            assert_eq!(fnv(fitted.rgb()), hash, "{mode:?} {w}x{h}");
        }
    }
}

#[test]
fn mask_blur_is_opencvs() {
    let sigmas = [1, 4, 9, 32];
    let mask = [
        0xa1b2c94312091cff,
        0x40bfdd981dcd9a66,
        0x116348dbd5d3a153,
        0x211d5aeddc52f594,
    ];
    let luma = [
        0x1fec7a7437751388,
        0x73b03d023cb45833,
        0x9029bab0f9fa0d9d,
        0x65f5a70340ab7337u64,
    ];
    for ((sigma, mask), luma) in sigmas.into_iter().zip(mask).zip(luma) {
        assert_eq!(
            fnv(mask_blur(&hard_mask(), sigma).values()),
            mask,
            "mask {sigma}"
        );
        assert_eq!(
            fnv(mask_blur(&input().luma(), sigma).values()),
            luma,
            "luma {sigma}"
        );
    }
    assert_eq!(mask_blur(&hard_mask(), 0), hard_mask());
}

#[test]
fn filling_and_overlaying_are_a1111s() {
    let soft = mask_blur(&hard_mask(), 4);
    let hash = |picture: Option<Picture>| fnv(picture.unwrap().rgb());
    assert_eq!(hash(fill(&input(), &hard_mask())), 0x874b64b81356f442);
    assert_eq!(hash(fill(&input(), &soft)), 0xe544e7cbb8eb7fe7);
    let mirrored: Vec<u8> = (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).rev().flat_map(move |x| input().pixel(x, y)))
        .collect();
    let drawn = Picture::new(WIDTH, HEIGHT, mirrored).unwrap();
    assert_eq!(
        hash(overlay(&drawn, &input(), &soft, None)),
        0xbcbc4e8d261a207a
    );
    let region = Region {
        left: 5,
        top: 2,
        right: 26,
        bottom: 21,
    };
    assert_eq!(
        hash(overlay(&drawn, &input(), &soft, Some(region))),
        0xd322bb58ba31e66a
    );
    assert!(fill(&input(), &Grey::new(1, 1, vec![0]).unwrap()).is_none());
}

#[test]
fn latent_masks_follow_their_profiles() {
    let soft = mask_blur(&hard_mask(), 4);
    let small = mask::to_latent(&soft, size(6, 5), Compat::A1111);
    let want = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0; 6],
        [0; 6],
    ];
    assert_eq!(
        small,
        want.concat().iter().map(|v| *v as f32).collect::<Vec<_>>()
    );

    // torch: nearest takes ⌊i · in / out⌋; bilinear samples at (i + ½) · in / out − ½.
    let ramp = Grey::new(8, 1, vec![0, 40, 80, 120, 160, 200, 240, 255]).unwrap();
    assert_eq!(
        mask::to_latent(&ramp, size(4, 1), Compat::Diffusers),
        [0.0, 0.0, 1.0, 1.0]
    );
    let bilinear = mask::to_latent(&ramp, size(4, 1), Compat::ComfyUi);
    for (got, want) in bilinear.iter().zip([20.0, 100.0, 180.0, 247.5]) {
        assert!((got - want / 255.0).abs() < 1e-6, "{bilinear:?}");
    }
}

#[test]
fn regions_grow_to_the_aspect() {
    let mask = hard_mask();
    let tight = Region {
        left: 3,
        top: 3,
        right: 25,
        bottom: 15,
    };
    assert_eq!(mask::bounds(&mask, 0), Some(tight));
    assert_eq!(
        mask::bounds(&mask, 100),
        Some(Region {
            left: 0,
            top: 0,
            right: WIDTH,
            bottom: HEIGHT
        })
    );
    assert_eq!(mask::bounds(&mask.map(|_| 0), 5), None);
    // 128 × 32 worked on at 512 × 512 becomes 128 × 128 (the reference's own example), moved inside.
    let wide = Region {
        left: 300,
        top: 10,
        right: 428,
        bottom: 42,
    };
    assert_eq!(
        mask::expand(wide, size(512, 512), size(512, 512)),
        Region {
            left: 300,
            top: 0,
            right: 428,
            bottom: 128
        }
    );
    let tall = Region {
        left: 480,
        top: 0,
        right: 512,
        bottom: 128,
    };
    assert_eq!(
        mask::expand(tall, size(512, 512), size(512, 512)),
        Region {
            left: 384,
            top: 0,
            right: 512,
            bottom: 128
        }
    );
}

#[test]
fn an_alpha_channel_is_the_mask() {
    let rgba = [
        10, 20, 30, 255, 1, 2, 3, 128, 1, 2, 3, 129, 200, 200, 200, 0,
    ];
    let mut png = Vec::new();
    {
        let mut encoder = png::Encoder::new(&mut png, 4, 1);
        encoder.set_color(png::ColorType::Rgba);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&rgba).unwrap();
    }
    let picture = Picture::decode("x.png", &png).unwrap();
    assert_eq!(mask::of(&picture).values(), [255, 0, 255, 0]);
    assert_eq!(picture.flatten([255; 3]).pixel(3, 0), [255; 3]);
    assert_eq!(picture.flatten([255; 3]).pixel(0, 0), [10, 20, 30]);
    assert_eq!(mask::of(&Picture::plain(1, 1, [255; 3])).values(), [255]);
}

#[test]
fn outpainting_masks_what_is_new() {
    let edges = Outpaint {
        right: 8,
        ..Outpaint::default()
    };
    let (canvas, new) = outpaint(&input(), edges, 4).unwrap();
    assert_eq!(canvas.size(), size(WIDTH + 8, HEIGHT));
    assert_eq!(canvas.pixel(WIDTH + 7, 5), input().pixel(WIDTH - 1, 5));
    let row = &new.values()[..WIDTH + 8];
    assert!(row[..WIDTH - 4].iter().all(|v| *v == 0));
    assert!(row[WIDTH - 4..].iter().all(|v| *v == 255));
    let under = Picture::plain(WIDTH + 8, HEIGHT, [0; 3]);
    let both = through(&under, &canvas, &new).unwrap();
    assert_eq!(both.pixel(0, 0), [0; 3]);
    assert_eq!(both.pixel(WIDTH, 0), canvas.pixel(WIDTH, 0));
}
proptest! {
    #[test]
    fn regions_stay_inside(
        left in 0usize..40, top in 0usize..40, w in 1usize..40, h in 1usize..40,
        work_w in 1usize..600, work_h in 1usize..600,
    ) {
        let picture = size(80, 80);
        let region = Region { left, top, right: left + w, bottom: top + h };
        let grown = mask::expand(region, size(work_w, work_h), picture);
        prop_assert!(grown.right <= 80 && grown.bottom <= 80);
        prop_assert!(grown.left <= left && grown.top <= top);
        prop_assert!(grown.right >= region.right && grown.bottom >= region.bottom);
    }

    #[test]
    fn any_size_fits(w in 1usize..9, h in 1usize..9, to_w in 1usize..40, to_h in 1usize..40, mode in 0usize..3) {
        let mode = [ResizeMode::Stretch, ResizeMode::Crop, ResizeMode::Fill][mode];
        let fitted = Picture::plain(w, h, [7; 3]).fit(size(to_w, to_h), mode, Filter::Lanczos);
        prop_assert_eq!(fitted.size(), size(to_w, to_h));
    }
}
