//! The losses as a chart.

use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;

use crate::Error;

/// A loss after some steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    step: u64,
    loss: f64,
    validation: bool,
}

impl Point {
    /// Of a line of the log.
    pub fn of(line: &Value) -> Option<Self> {
        Some(Self {
            step: line["step"].as_u64()?,
            loss: line["loss"].as_f64().filter(|loss| loss.is_finite())?,
            validation: line["kind"] == "validation",
        })
    }
}

/// Writes the chart as SVG: the training loss thin, the validation loss with dots; a logarithmic axis where
/// all losses are above 0.
pub fn draw(path: &Path, points: &[Point]) -> Result<(), Error> {
    let Some(last) = points.iter().map(|p| p.step).max() else {
        return Ok(());
    };
    let bounds = |f: fn(f64, f64) -> f64, from| points.iter().map(|p| p.loss).fold(from, f);
    let (low, high) = (
        bounds(f64::min, f64::INFINITY),
        bounds(f64::max, f64::NEG_INFINITY),
    );
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (900, 500)).into_drawing_area();
        let drawn = match low > 0.0 {
            true => {
                let axis = (low * 0.9..high * 1.1).log_scale();
                lines(&area, last, axis, points).map_err(|e| e.to_string())
            }
            false => {
                let space = 0.05 * (high - low).max(1e-9);
                lines(&area, last, low - space..high + space, points).map_err(|e| e.to_string())
            }
        };
        drawn
            .and_then(|()| area.present().map_err(|e| e.to_string()))
            .map_err(|problem| Error::Chart {
                path: path.to_owned(),
                problem,
            })?;
    }
    std::fs::write(path, svg).map_err(Error::io(path, "write"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn lines<'a, Y>(
    area: &Area<'a>,
    last: u64,
    axis: Y,
    points: &[Point],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>
where
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>
        + plotters::coord::ranged1d::Ranged<ValueType = f64>,
{
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0..last.max(1), axis)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss")
        .draw()?;
    let of = |validation| {
        points
            .iter()
            .filter(move |p| p.validation == validation)
            .map(|p| (p.step, p.loss))
    };
    chart
        .draw_series(LineSeries::new(of(false), &BLUE))?
        .label("training")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLUE));
    if of(true).next().is_some() {
        chart
            .draw_series(LineSeries::new(of(true), RED.stroke_width(2)).point_size(3))?
            .label("validation")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_losses_are_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        let point = |kind: &str, step, loss| {
            Point::of(&json!({"kind": kind, "step": step, "loss": loss})).unwrap()
        };
        for sign in [1.0, -1.0] {
            let points = [
                point("train", 1, 2.0),
                point("train", 2, 1.0),
                point("validation", 2, sign * 1.5),
            ];
            draw(&path, &points).unwrap();
            let svg = std::fs::read_to_string(&path).unwrap();
            assert!(
                svg.contains("<polyline") && svg.contains("validation"),
                "{svg}"
            );
        }
        assert_eq!(Point::of(&json!({"kind": "train", "step": 1})), None);
    }
}
