//go:build race

package falsealarm

const raceDetector = true
