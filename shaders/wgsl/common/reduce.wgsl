// Sums and maxima over a workgroup, for all of its threads. The kernel says what is reduced (`Value`) and how many threads there are
// (`THREADS`, a power of two). Devices with subgroups have reduce_subgroups.wgsl instead.

struct Place {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
}

var<workgroup> reduced: array<Value, THREADS>;

fn total(place: Place, value: Value) -> Value {
    workgroupBarrier();
    reduced[place.thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if place.thread < half {
            reduced[place.thread] += reduced[place.thread + half];
        }
        workgroupBarrier();
    }
    return reduced[0];
}

fn largest(place: Place, value: Value) -> Value {
    workgroupBarrier();
    reduced[place.thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if place.thread < half {
            reduced[place.thread] = max(reduced[place.thread], reduced[place.thread + half]);
        }
        workgroupBarrier();
    }
    return reduced[0];
}
