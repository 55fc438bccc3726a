//! Loops whose body stands several times in a row. A guest looks at each turn of a loop whether its time is up, which takes as long as adding a number
//! in memory: a sixth of a decision went there. What is passed must be short, without a loop of its own.

/// Large enough that the turns count little, small enough that the compiler writes the bodies out.
const STRIDE: usize = 8;

/// Of each item.
#[inline(always)]
pub fn each_in_strides<T>(items: &[T], mut body: impl FnMut(&T)) {
    let (strides, rest) = items.as_chunks::<STRIDE>();
    strides.iter().for_each(|stride| stride.iter().for_each(&mut body));
    rest.iter().for_each(body);
}

/// Of each item, to change it.
#[inline(always)]
pub fn change_in_strides<T>(items: &mut [T], mut body: impl FnMut(&mut T)) {
    let (strides, rest) = items.as_chunks_mut::<STRIDE>();
    strides.iter_mut().for_each(|stride| stride.iter_mut().for_each(&mut body));
    rest.iter_mut().for_each(body);
}

/// Of each number from the first on.
#[inline(always)]
pub fn each_number_in_strides(first: u32, count: usize, mut body: impl FnMut(u32)) {
    let (strides, rest) = (count / STRIDE, count % STRIDE);
    let mut next = first;
    for _ in 0..strides {
        for _ in 0..STRIDE {
            body(next);
            next += 1;
        }
    }
    for _ in 0..rest {
        body(next);
        next += 1;
    }
}

/// How many items hold before the first that does not.
#[inline(always)]
pub fn count_while_in_strides<T>(items: &[T], holds: impl Fn(&T) -> bool) -> usize {
    let (strides, rest) = items.as_chunks::<STRIDE>();
    let mut counted = 0;
    for stride in strides {
        for item in stride {
            if !holds(item) {
                return counted;
            }
            counted += 1;
        }
    }
    counted + rest.iter().take_while(|item| holds(item)).count()
}

/// Of each pair, as far as both go.
#[inline(always)]
pub fn in_strides<A, B: Copy>(first: &mut [A], second: &[B], mut body: impl FnMut(&mut A, B)) {
    let both = first.len().min(second.len());
    let (strides, rest) = first[..both].as_chunks_mut::<STRIDE>();
    let (beside, beside_rest) = second[..both].as_chunks::<STRIDE>();
    for (stride, beside) in strides.iter_mut().zip(beside) {
        for (a, b) in stride.iter_mut().zip(beside) {
            body(a, *b);
        }
    }
    for (a, b) in rest.iter_mut().zip(beside_rest) {
        body(a, *b);
    }
}
