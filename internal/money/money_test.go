package money_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/internal/money"
)

func TestMicrosToNanosIsExactOrAnError(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.Int64().Draw(t, "micros")
		want := new(big.Int).Mul(big.NewInt(m), big.NewInt(1000))
		got, err := money.Micros(m).Nanos()
		if want.IsInt64() {
			require.NoError(t, err)
			require.Equal(t, want.Int64(), int64(got))
			require.Equal(t, money.Micros(m), got.MicrosFloor())
		} else {
			require.ErrorIs(t, err, money.ErrOverflow)
		}
	})
}

func TestAddAndMulSatAgreeWithBigIntegers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		sum := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		got, err := money.Nanos(a).Add(money.Nanos(b))
		if sum.IsInt64() {
			require.NoError(t, err)
			require.Equal(t, sum.Int64(), int64(got))
		} else {
			require.ErrorIs(t, err, money.ErrOverflow)
		}
		product := new(big.Int).Mul(big.NewInt(max(a, 0)), big.NewInt(max(b, 0)))
		if !product.IsInt64() {
			product = big.NewInt(math.MaxInt64)
		}
		require.Equal(t, product.Int64(), int64(money.Nanos(a).MulSat(b)))

		d := rapid.Int64Range(1, math.MaxInt64).Draw(t, "d")
		quotient := new(big.Int).Mul(big.NewInt(max(a, 0)), big.NewInt(max(b, 0)))
		if quotient.Div(quotient, big.NewInt(d)); !quotient.IsInt64() {
			quotient = big.NewInt(math.MaxInt64)
		}
		require.Equal(t, quotient.Int64(), int64(money.Nanos(a).MulDiv(b, d)))
	})
}

func TestFloorScore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		score float64
		want  money.Nanos
	}{
		{0, 0}, {-5, 0}, {math.NaN(), 0}, {math.Inf(1), math.MaxInt64}, {math.Inf(-1), 0}, {0.999, 0}, {1, 1}, {2.999, 2}, {1 << 62, 1 << 62}, {1 << 63, math.MaxInt64},
	} {
		require.Equal(t, c.want, money.FloorScore(c.score), "%v", c.score)
	}
}

func TestCeilScore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		score float64
		want  money.Nanos
	}{
		{0, 0},
		{-5, 0},
		{math.NaN(), 0},
		{math.Inf(1), math.MaxInt64},
		{math.Inf(-1), 0},
		{1, 1},
		{1.0000001, 2},
		{0.2, 1},
		{9.3e18, math.MaxInt64},
	} {
		require.Equal(t, c.want, money.CeilScore(c.score), "score %v", c.score)
	}
}

func TestCeilPrice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		score float64
		want  money.Nanos
	}{
		{0, 0},
		{-5, 0},
		{math.NaN(), 0},
		{math.Inf(1), math.MaxInt64},
		{200, 200},
		{math.Nextafter(200, 201), 200},
		{200.0000000001, 200},
		{200.000000001, 201},
		{199.9999999999, 200},
		{1e-9, 1},
		{0.1 + 0.2, 1},
		{(0.1 + 0.2) * 10, 3},
		{1e12, 1e12},
		{1e12 + 0.5, 1e12 + 1},
		{1e15 + 1, 1e15 + 1},
		{9.3e18, math.MaxInt64},
	} {
		require.Equal(t, c.want, money.CeilPrice(c.score), "score %v", c.score)
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	require.Equal(t, "12.000000345", money.Nanos(12_000_000_345).String())
	require.Equal(t, "-0.000000001", money.Nanos(-1).String())
	require.Equal(t, "-9223372036.854775808", money.Nanos(math.MinInt64).String())
	require.Equal(t, "12.000345", money.Micros(12_000_345).String())
	require.Equal(t, money.Micros(-1), money.Nanos(-1).MicrosFloor())
}
