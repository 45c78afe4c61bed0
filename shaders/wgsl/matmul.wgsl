// The weights of a product, as f32; the product itself is common/product.wgsl.

@group(0) @binding(2) var<storage, read> weights: array<f32>;

// Four columns of a row of the weight, zero where there is none.
fn weight_at(row: u32, column: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if row < params.outputs && column < params.inner {
        let at = (params.weight_row + row) * params.columns + params.column + column;
        let left = params.inner - column;
        values.x = weights[at];
        if left >= 4u {
            values = vec4<f32>(values.x, weights[at + 1u], weights[at + 2u], weights[at + 3u]);
        } else {
            if left > 1u {
                values.y = weights[at + 1u];
            }
            if left > 2u {
                values.z = weights[at + 2u];
            }
        }
    }
    return values;
}
