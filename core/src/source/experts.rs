//! Experts that a file keeps apart (`blk.0.ffn_up.3.weight`), and the stack that GGUF makes of them (`blk.0.ffn_up_exps.weight`).

/// The stack that an expert's tensor belongs to, and the expert's number. All tensors of a stack must have one format.
pub fn expert_stack(name: &str) -> Option<(String, usize)> {
    let mut parts = name.split('.');
    let (blk, block, part, expert, leaf) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (blk, leaf) != ("blk", "weight") || !matches!(part, "ffn_gate" | "ffn_up" | "ffn_down") {
        return None;
    }
    Some((format!("blk.{block}.{part}_exps.weight"), expert.parse().ok()?))
}

/// The tensor of one expert of a stack.
pub(crate) fn expert_of(stack: &str, expert: usize) -> Option<String> {
    Some(format!("{}.{expert}.weight", stack.strip_suffix("_exps.weight")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_and_stacks_are_known_by_their_names() {
        assert_eq!(expert_stack("blk.2.ffn_up.11.weight"), Some(("blk.2.ffn_up_exps.weight".to_owned(), 11)));
        assert_eq!(expert_of("blk.2.ffn_up_exps.weight", 11).as_deref(), Some("blk.2.ffn_up.11.weight"));
        for other in ["blk.2.ffn_up.weight", "blk.2.ffn_up_exps.weight", "blk.2.attn_q.1.weight", "blk.2.ffn_up.1.bias"] {
            assert_eq!(expert_stack(other), None, "{other}");
        }
    }
}
