//go:build !race

package falsealarm

const raceDetector = false
