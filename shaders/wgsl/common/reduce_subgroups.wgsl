// reduce.wgsl for devices with subgroups: each of them reduces its own values, and every thread what they left, in order.

struct Place {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

// A subgroup may be a single thread.
var<workgroup> reduced: array<Value, THREADS>;

fn share(place: Place, value: Value) {
    workgroupBarrier();
    if place.lane == 0u {
        reduced[place.subgroup] = value;
    }
    workgroupBarrier();
}

fn total(place: Place, value: Value) -> Value {
    share(place, subgroupAdd(value));
    var sum = reduced[0];
    for (var i = 1u; i < place.subgroups; i += 1u) {
        sum += reduced[i];
    }
    return sum;
}

fn largest(place: Place, value: Value) -> Value {
    share(place, subgroupMax(value));
    var most = reduced[0];
    for (var i = 1u; i < place.subgroups; i += 1u) {
        most = max(most, reduced[i]);
    }
    return most;
}
