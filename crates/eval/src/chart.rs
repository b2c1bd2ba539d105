//! The trade-off of guidance as a plot.

use std::path::Path;

use plotters::prelude::*;

use crate::{Error, Guided};

/// Writes R-precision against the Fréchet distance as SVG, one point for each guidance, joined in their order. Up is
/// more like the caption, left is more like real pictures.
///
/// # Errors
/// A file that cannot be written.
pub fn trade_off(path: &Path, points: &[Guided]) -> Result<(), Error> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.cfg_scale.total_cmp(&b.cfg_scale));
    let mut svg = String::new();
    lines(&mut svg, &points).map_err(|problem| Error::Drawing {
        path: path.to_owned(),
        problem,
    })?;
    std::fs::write(path, svg).map_err(Error::io(path, "write"))
}

/// The range of numbers with some space around it.
fn range(numbers: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.fold(f64::NEG_INFINITY, f64::max);
    let space = (0.12 * (high - low)).max(1e-3);
    low - space..high + space
}

fn lines(svg: &mut String, points: &[Guided]) -> Result<(), String> {
    let places: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (point.likeness.fd_efflite0, point.r_precision))
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    let area = SVGBackend::with_string(svg, (640, 480)).into_drawing_area();
    let failed = |e: DrawingAreaErrorKind<_>| e.to_string();
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(
            range(places.iter().map(|p| p.0)),
            range(places.iter().map(|p| p.1)),
        )
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("FD-EffLite0 (lower is more like real pictures)")
        .y_desc("R-precision, 1 of 10")
        .draw()
        .map_err(failed)?;
    let line = LineSeries::new(places.iter().copied(), BLUE.stroke_width(2)).point_size(4);
    chart.draw_series(line).map_err(failed)?;
    let names = points.iter().zip(&places).map(|(point, place)| {
        EmptyElement::at(*place)
            + Text::new(
                format!("guidance {}", point.cfg_scale),
                (8, -16),
                ("sans-serif", 14),
            )
    });
    chart.draw_series(names).map_err(failed)?;
    area.present().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Apart;

    #[test]
    fn every_guidance_has_a_point() {
        let point = |cfg_scale, fd, r_precision| Guided {
            cfg_scale,
            r_precision,
            likeness: Apart {
                pictures: [10, 10],
                fd_efflite0: fd,
                kid_efflite0: 0.0,
                kid_error: 0.0,
                precision: 0.5,
                recall: 0.5,
            },
        };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.svg");
        for points in [
            vec![
                point(8.0, 60.0, 0.8),
                point(1.0, 40.0, 0.3),
                point(3.0, 35.0, 0.7),
            ],
            vec![point(2.0, 5.0, 0.5)],
        ] {
            trade_off(&path, &points).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            for point in &points {
                let name = format!("guidance {}", point.cfg_scale);
                assert!(svg.contains(&name), "{name}");
            }
            assert!(svg.matches("<circle").count() >= points.len());
        }
        trade_off(&path, &[]).unwrap();
        let missing = trade_off(Path::new("/no/such/folder/x.svg"), &[point(1.0, 1.0, 0.1)]);
        assert!(missing.unwrap_err().to_string().contains("/no/such/folder"));
    }
}
