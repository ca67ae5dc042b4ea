"""The x_0 that a step of any scheduler predicts."""

import pytest
import torch

from distok.baselines.adaptive_negatives import predicted_x0
from distok.errors import DistokError


class TestLookingAhead:
    X0 = torch.linspace(-1, 1, 32).reshape(1, 2, 4, 4)
    NOISE = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
    def test_of_a_perfect_prediction_it_is_the_picture(self, kind):
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler(prediction_type=kind)
        t = torch.tensor(600)
        noisy = scheduler.add_noise(self.X0, self.NOISE, t[None])
        perfect = {"epsilon": self.NOISE, "sample": self.X0, "v_prediction": scheduler.get_velocity(self.X0, self.NOISE, t[None])}
        found = predicted_x0(scheduler, perfect[kind], t, noisy, 0)
        assert torch.allclose(found, self.X0, atol=1e-5)

    @pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "LMSDiscreteScheduler"])
    @pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
    def test_it_agrees_with_the_library(self, name, kind):
        import diffusers

        own = {"clip_sample": False} if name == "DDIMScheduler" else {}  # the library would clip x_0 to the range of pixels
        scheduler = getattr(diffusers, name)(prediction_type=kind, **own)
        scheduler.set_timesteps(5)
        t = scheduler.timesteps[2]
        noisy = scheduler.add_noise(self.X0, self.NOISE, t[None])
        wanted = scheduler.step(self.X0 * 0.3, t, noisy).pred_original_sample
        assert torch.allclose(predicted_x0(scheduler, self.X0 * 0.3, t, noisy, 2), wanted, atol=1e-3)

    def test_it_agrees_with_the_multistep_solver(self):
        from diffusers import DPMSolverMultistepScheduler

        scheduler = DPMSolverMultistepScheduler()
        scheduler.set_timesteps(5)
        t = scheduler.timesteps[2]
        noisy = scheduler.add_noise(self.X0, self.NOISE, t[None])
        scheduler._init_step_index(t)
        wanted = scheduler.convert_model_output(self.NOISE, sample=noisy)
        assert torch.allclose(predicted_x0(scheduler, self.NOISE, t, noisy, 2), wanted, atol=1e-4)

    def test_of_a_flow_it_takes_the_papers_factor_and_not_the_codes(self):
        from diffusers import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(5)
        sigma = scheduler.sigmas[3]
        noisy, velocity = (1 - sigma) * self.X0 + sigma * self.NOISE, self.NOISE - self.X0
        assert torch.allclose(predicted_x0(scheduler, velocity, scheduler.timesteps[3], noisy, 3), self.X0, atol=1e-5)
        assert not torch.allclose(noisy - velocity, self.X0, atol=0.1)

    def test_schedulers_it_cannot_follow_are_refused(self):
        from diffusers import DDIMScheduler, HeunDiscreteScheduler

        with pytest.raises(DistokError, match="cannot look ahead with a HeunDiscreteScheduler"):
            predicted_x0(HeunDiscreteScheduler(), self.NOISE, torch.tensor(1), self.NOISE, 0)
        scheduler = DDIMScheduler()
        scheduler.register_to_config(prediction_type="score")
        with pytest.raises(DistokError, match="the prediction type 'score'"):
            predicted_x0(scheduler, self.NOISE, torch.tensor(1), self.NOISE, 0)
