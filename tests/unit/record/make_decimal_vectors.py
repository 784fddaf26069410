#!/usr/bin/env python3
"""Writes decimal_vectors.txt: operations on decimals and their results by Python's decimal and fractions.

Usage: make_decimal_vectors.py > decimal_vectors.txt
A line is: operation, operand, operand or places, [places], result; "range" and "by_zero" are the refusals.
"""
import random
from decimal import Context, Decimal, ROUND_HALF_EVEN
from fractions import Fraction

DIGITS, SCALE, DIV_SCALE = 150, 150, 18
exact = Context(prec=4000, Emax=10**6, Emin=-10**6, rounding=ROUND_HALF_EVEN)
rng = random.Random(20221122)


def number(kind):
    if kind == "price":
        return f"{rng.randrange(0, 10**6)}.{rng.randrange(0, 10**rng.randrange(1, 19)):0{rng.randrange(1, 19)}d}"
    if kind == "int256":
        return str(rng.randrange(-(2**255), 2**255))
    if kind == "small":
        return str(rng.randrange(-20, 21)) + rng.choice(["", ".0", ".5", ".50", ".25", ".125"])
    if kind == "power":
        return rng.choice(["", "-"]) + rng.choice(["1", "5", "25", "125", "999"]) + "0" * rng.randrange(0, 40)
    limb = rng.choice([2**64 - 1, 2**64, 2**128 - 1, 2**128, 2**192 - 1, 2**63, 2**127])
    digits = str(limb + rng.randrange(-2, 3)) if rng.random() < 0.5 else str(rng.randrange(10 ** rng.randrange(1, 150)))
    point = rng.randrange(0, min(len(digits), 100))
    text = digits if point == 0 else f"{digits[:-point]}.{digits[-point:]}"
    if text.startswith("."):
        text = "0" + text
    return rng.choice(["", "-"]) + text


def any_number():
    return number(rng.choice(["price", "price", "int256", "small", "small", "power", "wide", "wide"]))


def show(coefficient, scale):
    if scale > SCALE or len(str(abs(coefficient))) > DIGITS:
        return "range"
    sign, digits = ("-" if coefficient < 0 else ""), str(abs(coefficient)).rjust(scale + 1, "0")
    return sign + (digits if scale == 0 else f"{digits[:-scale]}.{digits[-scale:]}")


def parts(text):
    return int(text.replace(".", "")), len(text.split(".")[1]) if "." in text else 0


def plain(value):
    scale = max(0, -value.as_tuple().exponent)
    return show(int(value.scaleb(scale, exact)), scale)


def at_scale(fraction, scale):
    return show(round(fraction * 10**scale), scale)  # round() of a Fraction is half to even


def divide(a, b):
    (ca, sa), (cb, sb) = parts(a), parts(b)
    if cb == 0:
        return "by_zero"
    fraction = Fraction(ca, 10**sa) / Fraction(cb, 10**sb)
    scale, most = sa, max(sa, DIV_SCALE)
    while scale < most and (fraction * 10**scale).denominator != 1:
        scale += 1
    return at_scale(fraction, scale)


def fractions(a, b):
    (ca, sa), (cb, sb) = parts(a), parts(b)
    return Fraction(ca, 10**sa), Fraction(cb, 10**sb), max(sa, sb)


def main():
    for _ in range(1100):
        a, b = any_number(), any_number()
        op = rng.choice(["add", "sub", "mul", "div", "div", "div_to", "div_to", "mod", "floor", "round", "cmp", "trim"])
        da, db = Decimal(a), Decimal(b)
        if op == "add":
            print(op, a, b, plain(exact.add(da, db)))
        elif op == "sub":
            print(op, a, b, plain(exact.subtract(da, db)))
        elif op == "mul":
            print(op, a, b, plain(exact.multiply(da, db)))
        elif op == "div":
            print(op, a, b, divide(a, b))
        elif op == "div_to":
            places = rng.choice([0, 1, 2, 6, 6, 18, 40, 150])
            fa, fb, _ = fractions(a, b)
            print(op, a, b, places, at_scale(fa / fb, places) if fb else "by_zero")
        elif op == "mod":
            fa, fb, scale = fractions(a, b)
            print(op, a, b, at_scale(fa % fb, scale) if fb else "by_zero")
        elif op == "floor":
            fa, fb, _ = fractions(a, b)
            print(op, a, b, show(fa // fb, 0) if fb else "by_zero")
        elif op == "round":
            places = rng.choice([0, 1, 2, 6, 18, 150])
            print(op, a, places, at_scale(fractions(a, a)[0], places))
        elif op == "cmp":
            print(op, a, b, int(da.compare(db, exact)))
        else:
            coefficient, scale = parts(a)
            while scale > 0 and coefficient % 10 == 0:
                coefficient, scale = coefficient // 10, scale - 1
            print(op, a, show(coefficient, 0 if coefficient == 0 else scale))


main()
